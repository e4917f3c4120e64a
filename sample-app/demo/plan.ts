/** Half of the customers want the last items, the others something of which there is enough. */
export interface Plan {
  /** Stands before every name, so that runs do not meet in one database. */
  readonly run: string;
  readonly customers: number;
  readonly buyers: number;
  readonly flashStock: number;
  readonly killAfterOrders: number;
}

/** What each kind of customer puts into the cart, and how many of it they order. */
export const FLASH = { inCart: 1, ordered: 1 };
export const MUGS = { inCart: 3, ordered: 1 };

export function planFor(run: string): Plan {
  return { run, customers: 2_000, buyers: 1_000, flashStock: 100, killAfterOrders: 50 };
}

export const flashSku = ({ run }: Plan): string => `${run}-flash`;
export const mugSku = ({ run }: Plan): string => `${run}-mug`;
export const buyers = (plan: Plan): string[] => names(plan, 'buyer', plan.buyers);
export const others = (plan: Plan): string[] => names(plan, 'guest', plan.customers - plan.buyers);

function names({ run }: Plan, kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${run}-${kind}-${index + 1}`);
}
