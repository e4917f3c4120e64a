import { Child, withChildren } from '../harness/child';
import type { Bench } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import type { ApplicationConfig } from '../roles/application';
import type { HandlerConfig } from '../roles/handler';
import type { SentStatement } from '../roles/statement-log';
import { roleConfig } from './role-config';
import { until } from './until';

const BYTES = 512;

/** What the library sends in a business transaction with one message. */
export function statementsOfTransaction(
  bench: Bench,
  workspace: Workspace,
  key: string | null,
): Promise<readonly SentStatement[]> {
  const config: ApplicationConfig = { ...roleConfig(bench, workspace), role: 'publisher' };
  return withChildren([() => Child.start('roles/application.ts', config)], (application) =>
    application.call<readonly SentStatement[]>('statements', { bytes: BYTES, key }),
  );
}

/** What it sends for a message that is handled under `@Idempotent()`. */
export async function statementsOfHandling(
  bench: Bench,
  workspace: Workspace,
): Promise<readonly SentStatement[]> {
  const config: HandlerConfig = {
    ...roleConfig(bench, workspace),
    idempotent: true,
    concurrency: 1,
    warmUp: 1,
  };
  await bench.broker.purge();
  return withChildren(
    [() => Child.start('roles/handler.ts', config), () => Child.start('roles/raw-sender.ts', config)],
    async (handler, sender) => {
      await handler.call('log');
      await sender.call('drain', { count: 1, bytes: BYTES, inFlight: 1 });
      await until(
        () => handler.call<{ count: number }>('handled'),
        ({ count }) => count >= 1,
      );
      return handler.call<readonly SentStatement[]>('statements');
    },
  );
}
