import { type MessageStatus, mayMove } from '../../lib/core/message-status';

/** One message as the table has it. */
export interface Seen {
  readonly id: string;
  readonly key: string | null;
  readonly seq: bigint;
  readonly status: MessageStatus;
}

/**
 * What must hold of the table whatever the model says of it: looked at after every step, and told only what was committed,
 * taken and purged.
 */
export class Ledger {
  private table = new Map<string, Seen>();
  private readonly committed = new Set<string>();
  private readonly taken = new Set<string>();
  private justTaken: readonly string[] = [];
  private readonly everDead = new Set<string>();

  constructor(private readonly onDeadLetter: 'park' | 'skip') {}

  commit(ids: readonly string[]): void {
    for (const id of ids) this.committed.add(id);
  }

  purge(ids: readonly string[]): void {
    for (const id of ids) {
      this.committed.delete(id);
      this.table.delete(id);
    }
  }

  look(rows: readonly Seen[]): void {
    const ids = rows.map(({ id }) => id).sort();
    expect(ids).toEqual([...this.committed].sort());
    for (const { id, status } of rows) {
      const before = this.table.get(id)?.status;
      const legal = before === undefined ? ['pending', 'blocked'].includes(status) : reaches(before, status);
      if (!legal) throw new Error(`${id} went from ${before ?? 'nowhere'} to ${status}`);
      if (status === 'dead_letter') this.everDead.add(id);
    }
    this.table = new Map(rows.map((row) => [row.id, row]));
    this.oneAtATime(rows);
    this.inOrder(this.justTaken);
    this.justTaken = [];
  }

  /** These were taken for sending since the latest look. */
  take(ids: readonly string[]): void {
    this.justTaken = [...this.justTaken, ...ids];
  }

  /** These of one key were sent, one after the other, by somebody who had claimed the first. */
  run(ids: readonly string[]): void {
    for (const id of ids) {
      const row = this.table.get(id);
      if (row === undefined) continue;
      const ahead = this.ofKey(row).filter((one) => one.seq < row.seq && !ids.includes(one.id));
      const unsent = ahead.filter((one) => this.mustGoFirst(one));
      if (unsent.length > 0) throw new Error(`${id} was sent before ${names(unsent)} of its key`);
      this.takeInTurn(row);
    }
  }

  private inOrder(ids: readonly string[]): void {
    for (const id of ids) {
      const row = this.table.get(id);
      if (row === undefined) throw new Error(`${id} was taken, and is not in the table`);
      const earlier = this.ofKey(row).filter(({ seq }) => seq < row.seq);
      const unsent = earlier.filter((one) => this.mustGoFirst(one));
      if (unsent.length > 0) throw new Error(`${id} was taken before ${names(unsent)} of its key`);
      this.takeInTurn(row);
    }
  }

  private takeInTurn(row: Seen): void {
    const { id, seq } = row;
    const overtook = this.ofKey(row).filter((one) => one.seq > seq && this.taken.has(one.id));
    // Under `skip` a redriven dead letter has been overtaken.
    const excused = this.taken.has(id) || (this.onDeadLetter === 'skip' && this.everDead.has(id));
    if (overtook.length > 0 && !excused) {
      throw new Error(`${id} was first taken after ${names(overtook)} of its key`);
    }
    this.taken.add(id);
  }

  private oneAtATime(rows: readonly Seen[]): void {
    for (const row of rows.filter(({ key, status }) => key !== null && status === 'pending')) {
      const ahead = this.ofKey(row).filter((one) => one.seq < row.seq && this.mustGoFirst(one));
      if (ahead.length > 0) throw new Error(`${row.id} is pending with ${names(ahead)} of its key before it`);
    }
  }

  private mustGoFirst({ id, status }: Seen): boolean {
    if (this.onDeadLetter === 'skip' && this.everDead.has(id)) return false;
    return ['pending', 'blocked', 'dead_letter'].includes(status);
  }

  private ofKey({ key }: Seen): Seen[] {
    return key === null ? [] : [...this.table.values()].filter((row) => row.key === key);
  }
}

/** One step of the tests may move a row twice: to `blocked`, and on, as a redrive does. */
function reaches(from: MessageStatus, to: MessageStatus): boolean {
  return from === to || mayMove(from, to) || (mayMove(from, 'blocked') && mayMove('blocked', to));
}

function names(rows: readonly Seen[]): string {
  return rows.map(({ id, status }) => `${id} (${status})`).join(', ');
}
