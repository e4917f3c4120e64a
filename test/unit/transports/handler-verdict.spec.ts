import * as golevelup from '@golevelup/nestjs-rabbitmq';

import { HandlerNackedError, UnprocessableMessageError } from '../../../lib/core/errors';
import { verdictOnError } from '../../../lib/transports/in-process/handler-verdict';
import type { Subscription } from '../../../lib/transports/in-process/subscriptions';

const subscription = { name: 'Carts.onOrderPlaced', config: {} } as Subscription;

describe('what a handler’s error says in process', () => {
  it.each<[string, Error, boolean]>([
    ['a failure', new Error('locked'), true],
    ['Nack(true) of an @Idempotent handler', new HandlerNackedError('Carts.on', true), true],
    ['Nack() of an @Idempotent handler', new HandlerNackedError('Carts.on', false), false],
    ['a message that must not be processed', new UnprocessableMessageError('no key'), false],
  ])('%s', (_what, error, retry) => {
    expect(verdictOnError(golevelup, subscription, error)).toMatchObject({ kind: 'failed', retry });
  });
});
