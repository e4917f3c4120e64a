import type { ValueTransformer } from 'typeorm';

/** Sums are 64 bits wide in the database, and drivers give those as strings; all of ours fit a number. */
export const cents: ValueTransformer = {
  to: (value: number) => value,
  from: (value: string | number) => Number(value),
};
