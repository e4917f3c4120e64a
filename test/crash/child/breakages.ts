import type { DataSource } from 'typeorm';

import type { OutboxAssembly } from '../../../lib/outbox.assembly';
import type { Breakage } from '../protocol';

const LATE_MS = 100;

/** Switches one guarantee's fix off. The checker must notice; that is what these are for. */
export function breakDown(breakage: Breakage | null, assembly: OutboxAssembly, dataSource: DataSource): void {
  const { stores, transports, relay } = assembly;
  const { outbox: store, inbox } = stores;
  const write = store.write.bind(store);
  const writeElsewhere = (...[, messages, birth]: Parameters<typeof write>): Promise<unknown> =>
    dataSource.transaction((manager) => write(manager.queryRunner!, messages, birth));
  switch (breakage) {
    case 'the row is inserted after the commit':
      store.write = async (statements, messages, birth) => {
        setTimeout(() => void writeElsewhere(statements, messages, birth).catch(() => undefined), LATE_MS);
        return messages.map(({ id }) => ({ id, status: 'blocked' as const }));
      };
      return;
    case 'the row is inserted outside of the transaction':
      store.write = async (statements, messages, birth) => {
        await writeElsewhere(statements, messages, { ...birth, leaseMs: 0 });
        return messages.map(({ id }) => ({ id, status: 'blocked' as const }));
      };
      return;
    case 'the inbox forgets':
      inbox.add = (_statements, entries) => Promise.resolve(entries);
      return;
    case 'messages count as confirmed when they are sent':
      for (const transport of transports.values()) {
        const send = transport.send.bind(transport);
        transport.send = (messages, settle) => {
          send(messages, () => undefined);
          setImmediate(() => {
            for (const message of messages) settle(message, { kind: 'confirmed' });
          });
        };
      }
      return;
    case 'keys are ignored':
      store.write = (statements, messages, birth) =>
        write(
          statements,
          messages.map((message) => ({ ...message, keyHash: null })),
          birth,
        );
      return;
    case 'what is read ahead counts as sent': {
      const completeAndPromote = store.completeAndPromote.bind(store);
      store.completeAndPromote = async (...args) => {
        const chained = await completeAndPromote(...args);
        await store.complete([...chained.ahead, ...chained.further].map(({ id }) => id));
        return chained;
      };
      return;
    }
    case 'nothing is resent':
      store.claim = () => Promise.resolve([]);
      return;
    case 'a connection is never given back': {
      const { commitListener } = relay;
      const committed = commitListener.committed.bind(commitListener);
      let left = 3;
      commitListener.committed = (batch) => {
        committed(batch);
        if (left > 0) void dataSource.createQueryRunner().connect();
        left -= 1;
      };
      return;
    }
    case 'the alarm is silent':
    case null:
      return;
  }
}
