/*
 * For each literal in the code (`{…}`, `[…]`) V8 notes how many of the objects made there survive the garbage collector's quick
 * rounds. Where nearly all do, those made there later are old from their birth: only a full round frees them, and until
 * then they keep alive whatever they point to. While a process warms up, code that is not yet compiled keeps nearly all that a
 * transaction makes. So a literal that lives as long as its transaction was noted as one whose objects grow old, and
 * stayed so: each transaction's messages became old, and full rounds came several times a second.
 *
 * Objects made by a class's constructor and arrays made of rest parameters have no such note. What lives as long as a
 * transaction or a message, on the hot path, is made by those.
 */

/** @returns a new array of these; for one that lives as long as a transaction or a message, see above */
export function shortLivedList<Item>(...items: Item[]): Item[] {
  return items;
}
