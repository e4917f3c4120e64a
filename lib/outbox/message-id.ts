import { randomFillSync } from 'node:crypto';

import { V7Generator } from 'uuidv7';

/** Random numbers are asked for by the kilobyte: one call for each id would cost more than all else an id does. */
const random = new Uint32Array(1_024);
let used = random.length;

const generator = new V7Generator({
  nextUint32: () => {
    if (used === random.length) {
      randomFillSync(random);
      used = 0;
    }
    return random[used++]!;
  },
});

/** @returns a UUID of version 7, greater than all that this process made before. */
export function newMessageId(): string {
  return generator.generate().toString();
}
