import type { StagedMessage } from '../core/message';

/** Cuts a list into parts of at most so many, without a copy where one part is enough. */
export function chunksOf<T>(values: readonly T[], sizeMax: number): (readonly T[])[] {
  if (values.length === 0) return [];
  if (values.length <= sizeMax) return [values];
  return Array.from({ length: Math.ceil(values.length / sizeMax) }, (_, index) =>
    values.slice(index * sizeMax, (index + 1) * sizeMax),
  );
}

/** Cuts messages so that each part fits into one INSERT. Nearly always there is one part. */
export function insertableChunks(
  messages: readonly StagedMessage[],
  rowsMax: number,
  bytesMax: number,
): (readonly StagedMessage[])[] {
  const chunks: StagedMessage[][] = [];
  let current: StagedMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    if (current.length > 0 && (current.length >= rowsMax || bytes + message.payload.length > bytesMax)) {
      chunks.push(current);
      [current, bytes] = [[], 0];
    }
    current.push(message);
    bytes += message.payload.length;
  }
  if (current.length > 0) chunks.push(current);
  return chunks;
}
