import type fc from 'fast-check';
import { PATIENCE } from '../support/patience';
import type { Model } from './model';
import type { System } from './system';

/** No step waits for another transaction, but those that say so. */
const STEP_MS_MAX = 8_000 * PATIENCE;

export type Step = fc.AsyncCommand<Model, System>;

/**
 * One step of model and system alike.
 * @param text as it stands in a counterexample
 * @param may whether the model can take it now; a step that cannot be taken is left out
 */
export function step(
  text: string,
  may: (model: Model) => boolean,
  run: (model: Model, system: System) => Promise<void>,
): Step {
  return {
    toString: () => text,
    check: (model) => may(model as Model),
    async run(model, system) {
      model.now += 1;
      await bounded(text, run(model, system));
      await system.agree(model);
    },
  };
}

async function bounded(text: string, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${text} took more than ${STEP_MS_MAX} ms`)), STEP_MS_MAX);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export const always = (): boolean => true;

/** As many of the candidates as the limit allows, whichever. */
export function expectChoice(
  chosen: readonly { readonly id: string }[],
  candidates: readonly { readonly id: string }[],
  limit: number,
): void {
  const possible = idsOf(candidates);
  expect(idsOf(chosen).filter((id) => !possible.includes(id))).toEqual([]);
  expect(chosen).toHaveLength(Math.min(limit, possible.length));
}

/** The ids of these, sorted: as most answers have no order. */
export function idsOf(rows: readonly { readonly id: string }[]): string[] {
  return rows.map(({ id }) => id).sort();
}
