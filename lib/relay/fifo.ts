/** From here on, the space in front is given back. */
const COMPACT_FROM = 1_024;

/** First in, first out, without moving what is left: `Array.shift` would, and a full queue is long. */
export class Fifo<Item> {
  private items: Item[] = [];
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  push(item: Item): void {
    this.items.push(item);
  }

  peek(): Item | undefined {
    return this.items[this.head];
  }

  shift(): Item | undefined {
    const item = this.items[this.head];
    if (item === undefined) return undefined;
    // The slot must not keep a sent message's payload alive.
    this.items[this.head] = undefined as never;
    this.head += 1;
    if (
      this.head === this.items.length ||
      (this.head >= COMPACT_FROM && this.head * 2 >= this.items.length)
    ) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return item;
  }
}
