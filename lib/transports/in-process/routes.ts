import type * as smqp from 'smqp';
import { OutboxConfigurationError } from '../../core/errors';
import type { ApplicationSettings } from './application-settings';
import { EVERY_EXCHANGE, type InProcessExchangeType, isExchangeType } from './in-process.options';
import type { Subscription } from './subscriptions';

type Smqp = typeof smqp;
type Exchange = ReturnType<smqp.Broker['assertExchange']>;

/** A queue that a message goes to, and the exchange that it was published to. */
export interface Route {
  readonly queue: smqp.Queue;
  readonly exchange: string;
}

/**
 * Exchanges, queues and bindings of the application's handlers.
 *
 * smqp delivers a message once a binding, and RabbitMQ once a queue; so the queues are found here, each once, by smqp's
 * bindings, and the message is put into them.
 */
export class Routes {
  private readonly broker: smqp.Broker;
  private readonly exchanges = new Map<string, Exchange>();
  private readonly exchangeBindings: readonly { source: string; destination: string; pattern: string }[];

  constructor(
    private readonly smqp: Smqp,
    private readonly settings: ApplicationSettings,
    subscriptions: readonly Subscription[],
  ) {
    this.broker = new smqp.Broker();
    this.exchangeBindings = settings.config.exchangeBindings ?? [];
    const queues = new Set(subscriptions.map(({ queue }) => queue));
    for (const queue of queues) this.broker.assertQueue(queue, { autoDelete: false, durable: false });
    for (const { queue, bindings } of subscriptions) {
      for (const { exchange, routingKey } of bindings) this.bind(queue, exchange, routingKey);
    }
    for (const { name, exchange, routingKey } of settings.config.queues ?? []) {
      if (!queues.has(name) || exchange === undefined) continue;
      for (const key of [routingKey].flat()) if (key !== undefined) this.bind(name, exchange, key);
    }
  }

  /** Calls back with each message of a queue; it stays with the queue until it is acked. */
  consume(
    queue: string,
    prefetch: number,
    consumerTag: string,
    accept: (message: smqp.ConsumeMessage) => void,
  ): void {
    this.broker.consume(
      queue,
      (_key, message) => {
        accept(message);
      },
      { prefetch, consumerTag },
    );
  }

  /** @returns each queue once. */
  of(exchange: string, routingKey: string): readonly Route[] {
    const routes = new Map<string, Route>();
    if (exchange === '') {
      const queue = this.broker.getQueue(routingKey);
      if (queue) routes.set(queue.name, { queue, exchange });
    } else {
      const names = exchange === EVERY_EXCHANGE ? this.exchanges.keys() : [exchange];
      for (const name of names) this.collect(name, name, routingKey, routes, new Set());
    }
    return [...routes.values()];
  }

  private collect(
    origin: string,
    name: string,
    routingKey: string,
    routes: Map<string, Route>,
    visited: Set<string>,
  ): void {
    if (visited.has(name)) return;
    visited.add(name);
    const exchange = this.exchanges.get(name);
    for (const binding of exchange?.bindings ?? []) {
      const { queue, pattern } = binding;
      if (!this.matches(name, pattern, routingKey, () => binding.testPattern(routingKey))) continue;
      if (!routes.has(queue.name)) routes.set(queue.name, { queue, exchange: origin });
    }
    for (const { source, destination, pattern } of this.exchangeBindings) {
      const test = () => this.smqp.getRoutingKeyPattern(pattern).test(routingKey);
      if (source !== name || !this.matches(name, pattern, routingKey, test)) continue;
      this.collect(origin, destination, routingKey, routes, visited);
    }
  }

  private matches(exchange: string, pattern: string, routingKey: string, testTopic: () => boolean): boolean {
    const type = this.exchanges.get(exchange)?.type ?? this.typeOf(exchange);
    if (type === 'fanout') return true;
    return type === 'direct' ? pattern === routingKey : testTopic();
  }

  private bind(queue: string, exchange: string, routingKey: string): void {
    const type = this.typeOf(exchange);
    this.exchanges.set(
      exchange,
      this.broker.assertExchange(exchange, type, { autoDelete: false, durable: false }),
    );
    this.broker.bindQueue(queue, exchange, routingKey);
  }

  private typeOf(exchange: string): InProcessExchangeType {
    const { config, options } = this.settings;
    const configured =
      config.exchanges?.find(({ name }) => name === exchange)?.type ?? config.defaultExchangeType;
    const type = options.exchanges[exchange] ?? configured ?? 'topic';
    if (!isExchangeType(type)) {
      throw new OutboxConfigurationError(
        'inProcess.exchanges',
        `the exchange ${exchange} is of the type '${type}', and 'topic', 'direct' and 'fanout' are known here.`,
      );
    }
    return type;
  }
}
