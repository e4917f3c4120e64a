import type { OutboxAssembly } from '../../../lib/outbox.assembly';
import type { Journal } from './journal';

/** Writes down what the relay does with which message, for the history of a violation. */
export function installWitness({ stores, transports }: OutboxAssembly, journal: Journal): void {
  const { outbox: store } = stores;
  const complete = store.complete.bind(store);
  store.complete = async (ids) => {
    journal.write({ did: 'complete', ids });
    const count = await complete(ids);
    journal.write({ did: 'completed', ids });
    return count;
  };
  const completeAndPromote = store.completeAndPromote.bind(store);
  store.completeAndPromote = async (completions, ...terms) => {
    const ids = completions.map(({ id }) => id);
    journal.write({ did: 'complete', ids });
    const promotion = await completeAndPromote(completions, ...terms);
    journal.write({ did: 'completed', ids });
    journal.write({ did: 'promoted', ids: promotion.claimed.map(({ id }) => id) });
    return promotion;
  };
  for (const transport of transports.values()) {
    const send = transport.send.bind(transport);
    transport.send = (messages, settle) => {
      journal.write({ did: 'send', ids: messages.map(({ id }) => id) });
      send(messages, (message, outcome) => {
        const { kind } = outcome;
        journal.write({
          did: 'settled',
          id: message.id,
          outcome: kind === 'confirmed' ? kind : `${kind}: ${outcome.error}`,
        });
        settle(message, outcome);
      });
    };
  }
}
