import type { DiscoveryService, MetadataScanner } from '@nestjs/core';

import { IDEMPOTENT_METADATA, type IdempotentMarker } from '../core/idempotency.port';

/** One `@Idempotent` method of the application. */
export interface IdempotentMethod {
  readonly marker: IdempotentMarker;
  /** The class that provides it, which may have inherited it, and the method: `CartHandlers.onOrderPlaced`. */
  readonly name: string;
  readonly methodName: string;
  /** The function on the prototype, which bears the metadata. */
  readonly handler: (...args: unknown[]) => unknown;
  readonly instance: object;
  /** Whether other instances have the very same method: of a class that is provided twice, or inherited. */
  readonly isShared: boolean;
  /** Whether one instance serves the whole application. */
  readonly isSingleton: boolean;
}

/** Finds all `@Idempotent` methods of providers and controllers. A method that several classes provide comes once. */
export function findIdempotentMethods(
  discovery: DiscoveryService,
  scanner: MetadataScanner,
): IdempotentMethod[] {
  const found = new Map<unknown, IdempotentMethod>();
  for (const wrapper of [...discovery.getProviders(), ...discovery.getControllers()]) {
    const instance: unknown = wrapper.instance;
    if (typeof instance !== 'object' || instance === null) continue;
    const prototype = Object.getPrototypeOf(instance) as object | null;
    if (prototype === null || prototype === Object.prototype) continue;
    for (const methodName of scanner.getAllMethodNames(prototype)) {
      const handler = (prototype as Record<string, unknown>)[methodName];
      if (typeof handler !== 'function') continue;
      const before = found.get(handler);
      if (before !== undefined) {
        if (before.instance !== instance) found.set(handler, { ...before, isShared: true });
        continue;
      }
      const marker = Reflect.getMetadata(IDEMPOTENT_METADATA, handler) as IdempotentMarker | undefined;
      if (marker === undefined) continue;
      found.set(handler, {
        marker,
        name: `${prototype.constructor.name}.${methodName}`,
        methodName,
        handler: handler as IdempotentMethod['handler'],
        instance,
        isShared: false,
        isSingleton: wrapper.isDependencyTreeStatic(),
      });
    }
  }
  return [...found.values()];
}
