import { slotOf } from '../../../lib/core/ordered-queue';
import { headersOf } from '../../../lib/transports/rabbitmq/message-headers';
import { claimedMessage } from '../../contracts/transport.fixtures';

describe('the headers of a message on RabbitMQ', () => {
  it('are its key and its slot, and those of others with that key stay what they are', () => {
    const alone = { 'x-outbox-key': 'order-1', 'outbox-slot': slotOf('order-1') };
    const plain = claimedMessage({ key: 'order-1' });
    expect(headersOf(plain)).toEqual(alone);
    expect(headersOf(claimedMessage({ key: 'order-1', headers: { a: 'b' } }))).toEqual({ ...alone, a: 'b' });
    expect(headersOf(claimedMessage({ key: 'order-1', tenant: 'north' }))).toEqual({
      ...alone,
      'x-outbox-tenant': 'north',
    });
    expect(headersOf(claimedMessage({ key: 'order-1', schemaVersion: 2 }))).toEqual({
      ...alone,
      'x-outbox-schema-version': '2',
    });
    expect(headersOf(plain)).toEqual(alone);
  });

  it('are not mixed up where a key looks like a slot', () => {
    const slot = slotOf(claimedMessage().id);
    expect(headersOf(claimedMessage({ key: slot }))).toEqual({
      'x-outbox-key': slot,
      'outbox-slot': slotOf(slot),
    });
  });

  it('have the slot of the id where there is no key', () => {
    const message = claimedMessage();
    expect(headersOf(message)).toEqual({ 'outbox-slot': slotOf(message.id) });
    expect(headersOf({ ...message, headers: { a: 'b' } })).toEqual({
      a: 'b',
      'outbox-slot': slotOf(message.id),
    });
  });

  it('are right for more keys than are remembered', () => {
    for (let round = 0; round < 2; round += 1) {
      for (let n = 0; n < 2_500; n += 1) {
        const key = `key-${n}`;
        expect(headersOf(claimedMessage({ key }))).toEqual({
          'x-outbox-key': key,
          'outbox-slot': slotOf(key),
        });
      }
    }
  });

  it('are refused where they are too long, key included, each time', () => {
    const message = claimedMessage({ key: 'k'.repeat(70_000) });
    for (let n = 0; n < 2; n += 1) expect(headersOf(message)).toMatch(/60000 is the limit/);
  });
});
