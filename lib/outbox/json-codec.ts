import type { Codec } from '../core/codec.port';
import { InvalidMessageError } from '../core/errors';

/** Payloads as JSON in UTF-8. */
export const jsonCodec: Codec = {
  encode(payload, message) {
    let text: string | undefined;
    try {
      text = JSON.stringify(payload);
    } catch (error) {
      throw new InvalidMessageError(
        message.type,
        'payload',
        `cannot be written as JSON (${(error as Error).message}). Give plain data, with the payload option if need be.`,
        { cause: error },
      );
    }
    if (text === undefined) {
      throw new InvalidMessageError(
        message.type,
        'payload',
        `is ${typeof payload}, which JSON does not have. Return the payload from the method, give the payload option, or null.`,
      );
    }
    return { payload: Buffer.from(text), contentType: 'application/json', contentEncoding: null };
  },
};
