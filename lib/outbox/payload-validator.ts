import { InvalidMessageError, MissingPeerError } from '../core/errors';
import type { PayloadSchema } from '../core/transactional-event.port';

import type { ValidationError } from 'class-validator';

/**
 * Checks a payload against a class-validator class and rejects with the first property that does not fit.
 * Plain payloads are turned into instances first, for nested classes; what is sent is the payload as it was given.
 */
export async function validatePayload(type: string, payload: unknown, schema: PayloadSchema): Promise<void> {
  const { validate, plainToInstance } = await loadPeers();
  if (typeof payload !== 'object' || payload === null) {
    throw new InvalidMessageError(
      type,
      'payload',
      `must be a ${schema.name}, and is ${payload === null ? 'null' : typeof payload}.`,
    );
  }
  const instance = payload instanceof schema ? payload : plainToInstance(schema, payload);
  const [first] = await validate(instance, { forbidUnknownValues: false });
  if (first !== undefined) {
    const { path, reason } = firstViolation(first, 'payload');
    throw new InvalidMessageError(type, path, `is not valid: ${reason} (schema ${schema.name}).`);
  }
}

function firstViolation(error: ValidationError, parent: string): { path: string; reason: string } {
  const path = `${parent}.${error.property}`;
  const [reason] = Object.values(error.constraints ?? {});
  if (reason !== undefined) return { path, reason };
  const [child] = error.children ?? [];
  return child === undefined ? { path, reason: 'it does not fit' } : firstViolation(child, path);
}

type Peers = Pick<typeof import('class-validator'), 'validate'> &
  Pick<typeof import('class-transformer'), 'plainToInstance'>;
let peers: Promise<Peers> | undefined;

/** Only applications that name schemas need these packages, so they are loaded with the first schema. */
function loadPeers(): Promise<Peers> {
  peers ??= (async () => {
    const [{ validate }, { plainToInstance }] = await Promise.all([
      import('class-validator').catch((cause: unknown) => missing('class-validator', cause)),
      import('class-transformer').catch((cause: unknown) => missing('class-transformer', cause)),
    ]);
    return { validate, plainToInstance };
  })();
  return peers;
}

function missing(packageName: string, cause: unknown): never {
  throw new MissingPeerError(packageName, 'The schema option of published messages', { cause });
}
