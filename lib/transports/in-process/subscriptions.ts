import type { RabbitHandlerConfig } from '@golevelup/nestjs-rabbitmq';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants';
import { DiscoveryService, ExternalContextCreator, MetadataScanner } from '@nestjs/core';
import { OutboxConfigurationError } from '../../core/errors';
import { SUBSCRIPTION_METADATA } from '../../core/idempotency.port';
import type { TransportContext } from '../../core/transport.port';
import type { ApplicationSettings } from './application-settings';

/** Runs a handler through its guards, pipes, interceptors and filters. */
export type RunHandler = (payload: unknown, raw: unknown, headers: unknown) => Promise<unknown>;

/** One `@RabbitSubscribe` handler, with one of its configurations. */
export interface Subscription {
  /** `CartHandlers.onOrderPlaced`. */
  readonly name: string;
  readonly queue: string;
  readonly config: RabbitHandlerConfig;
  readonly bindings: readonly { readonly exchange: string; readonly routingKey: string }[];
  readonly run: RunHandler;
}

/**
 * Finds the handlers as `@golevelup/nestjs-rabbitmq` does when it bootstraps (`RabbitMQModule.onApplicationBootstrap`),
 * and makes them callable in the same way, so that they run alike.
 */
export function findSubscriptions(
  settings: ApplicationSettings,
  context: TransportContext,
): readonly Subscription[] {
  const discovery = needed<DiscoveryService>(context, DiscoveryService);
  const scanner = needed<MetadataScanner>(context, MetadataScanner);
  const wrappers = [...discovery.getProviders(), ...(settings.controllers ? discovery.getControllers() : [])];
  const seen = new Map<object, Set<string>>();
  const found: Subscription[] = [];
  for (const wrapper of wrappers) {
    const instance = wrapper.instance as object | null | undefined;
    if (typeof instance !== 'object' || instance === null) continue;
    const prototype = Object.getPrototypeOf(instance) as Record<string, unknown> | null;
    if (prototype === null) continue;
    for (const methodName of scanner.getAllMethodNames(prototype)) {
      const config = subscribeConfig(settings, prototype[methodName]);
      if (config === undefined) continue;
      // An alias (`useExisting`) is the same object once more.
      const methods = seen.get(instance) ?? new Set();
      if (methods.has(methodName)) continue;
      seen.set(instance, methods.add(methodName));
      found.push(...subscriptionsOf(settings, context, wrapper, instance, methodName, config));
    }
  }
  return found;
}

function subscribeConfig({ peer }: ApplicationSettings, handler: unknown): RabbitHandlerConfig | undefined {
  if (typeof handler !== 'function') return undefined;
  // A queue in partitions is one queue here: keys keep their order in any.
  const config = (Reflect.getMetadata(SUBSCRIPTION_METADATA, handler) ??
    Reflect.getMetadata(peer.RABBIT_HANDLER, handler)) as RabbitHandlerConfig | undefined;
  // An RPC handler answers somebody who waits; nobody waits for an answer to a message of the outbox.
  return config?.type === 'subscribe' ? config : undefined;
}

function subscriptionsOf(
  settings: ApplicationSettings,
  context: TransportContext,
  wrapper: InstanceWrapper,
  instance: object,
  methodName: string,
  declared: RabbitHandlerConfig,
): Subscription[] {
  const name = `${instance.constructor.name}.${methodName}`;
  if (!wrapper.isDependencyTreeStatic()) {
    throw new OutboxConfigurationError(
      'inProcess',
      `${name} cannot handle messages: its class, or something that it injects, is request-scoped, and there is no ` +
        `request. Make it a singleton.`,
    );
  }
  const run = callable(settings, context, instance, methodName);
  return configurations(settings, declared).map((config, index) => ({
    name,
    // The broker would make up a name; here it must be the same at each start of one process only.
    queue: config.queue || `${name}${index === 0 ? '' : `#${index}`}`,
    config,
    bindings: bindingsOf(config),
    run,
  }));
}

/** RabbitMQModule's `handlers`, under the handler's name: none skips it, and a list stands for several registrations. */
function configurations(
  { config: module }: ApplicationSettings,
  declared: RabbitHandlerConfig,
): RabbitHandlerConfig[] {
  const lookupKey = declared.name || module.defaultHandler;
  if (!lookupKey || module.handlers === undefined) return [declared];
  const configured = Object.hasOwn(module.handlers, lookupKey) ? module.handlers[lookupKey] : [];
  return [configured].flat().map((own) => ({ ...declared, ...own }));
}

function bindingsOf({ exchange, routingKey, bindings }: RabbitHandlerConfig): Subscription['bindings'] {
  const own = exchange
    ? [routingKey].flat().flatMap((key) => (key == null ? [] : [{ exchange, routingKey: key }]))
    : [];
  return [...own, ...(bindings ?? [])];
}

/** As golevelup binds it: the prototype's function, with its metadata, because guards, pipes and interceptors hang on it. */
function callable(
  { peer }: ApplicationSettings,
  context: TransportContext,
  instance: object,
  methodName: string,
): RunHandler {
  const creator = needed<ExternalContextCreator>(context, ExternalContextCreator);
  const prototype = Object.getPrototypeOf(instance) as Record<string, RunHandler>;
  const original = prototype[methodName] as RunHandler;
  const bound: RunHandler = original.bind(instance);
  for (const key of Reflect.getMetadataKeys(original) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, original), bound);
  }
  const handler: unknown = creator.create(
    instance,
    bound,
    methodName,
    ROUTE_ARGS_METADATA,
    new peer.RabbitRpcParamsFactory(),
    undefined,
    undefined,
    undefined,
    peer.RABBIT_CONTEXT_TYPE_KEY,
  );
  return handler as RunHandler;
}

function needed<T>(context: TransportContext, token: new (...args: never[]) => T): T {
  const provider = context.resolve<T>(token);
  if (provider === undefined) {
    throw new OutboxConfigurationError(
      'inProcess',
      `finds no ${token.name} in the application. Import DiscoveryModule of @nestjs/core.`,
    );
  }
  return provider;
}
