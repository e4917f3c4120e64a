/**
 * golevelup's `Nack`, recognised by its looks: the package is an optional peer, and an application may hold two copies
 * of it.
 */
export function asNack(response: unknown): { readonly requeue: boolean } | null {
  if (typeof response !== 'object' || response === null || response.constructor?.name !== 'Nack') return null;
  return { requeue: (response as { requeue?: unknown }).requeue === true };
}
