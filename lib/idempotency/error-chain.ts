/** Whether the condition holds for an error or for one that it was caused by. */
export function anyInChain(error: unknown, condition: (error: unknown) => boolean): boolean {
  const seen = new Set<unknown>();
  for (let current = error; current !== undefined && current !== null && !seen.has(current);) {
    if (condition(current)) return true;
    seen.add(current);
    current = typeof current === 'object' ? (current as { cause?: unknown }).cause : undefined;
  }
  return false;
}
