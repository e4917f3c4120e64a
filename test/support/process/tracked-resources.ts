const REGISTRY = Symbol.for('nestjs-outbox.test.tracked-resources');

type Registry = Map<symbol, string>;

/** The registry of one global object: a spec file's sandbox has its own, which jest's environment reads. */
export function trackedResourcesOf(global: object): Registry {
  const holder = global as { [REGISTRY]?: Registry };
  return (holder[REGISTRY] ??= new Map());
}

/**
 * Counts something a spec must give back (a server, a proxy) until the returned function is called. What is
 * still counted when a spec file ends makes that file fail.
 */
export function trackResource(description: string): () => void {
  const registry = trackedResourcesOf(globalThis);
  const key = Symbol(description);
  registry.set(key, description);
  return () => void registry.delete(key);
}
