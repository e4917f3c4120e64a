/** A payload as bytes, with what a reader needs to know to read them. */
export interface EncodedPayload {
  readonly payload: Buffer;
  /** MIME type, e.g. `application/json`. */
  readonly contentType: string;
  /** e.g. `gzip`, or null. */
  readonly contentEncoding: string | null;
}

/**
 * Turns payloads into bytes. JSON by default; encryption, compression, Avro fit in here.
 *
 * Concurrency contract: called once a message, when it is published, inside the caller's transaction; may be called
 * many times at once. A rejection fails the publish, and so the transaction.
 */
export interface Codec {
  encode(
    payload: unknown,
    message: { readonly type: string; readonly id: string },
  ): EncodedPayload | Promise<EncodedPayload>;
}
