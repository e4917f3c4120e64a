import { copyFileSync, readFileSync, truncateSync } from 'node:fs';

import type { JournalLine } from '../protocol';
import type { CommitInterval } from './facts';

/** What the processes wrote down about themselves, and what the campaign did to them. */
export class JournalReader {
  readonly commits = new Map<string, CommitInterval>();
  readonly alarms = { outbox: new Set<string>(), inbox: new Set<string>() };
  /** Transactions by how they ended, as far as their process saw it. */
  readonly transactions = { committed: 0, 'rolled back': 0, failed: 0 };
  private readonly open = new Map<string, { ids: readonly string[]; beganAt: bigint }>();
  /** Lines of the file that are taken in. */
  private taken = 0;

  constructor(private readonly path: string) {}

  /** Takes in what was written since the file was last put aside. May be called again. */
  read(): void {
    const lines = this.lines();
    for (const line of lines.slice(this.taken)) this.take(line);
    this.taken = lines.length;
  }

  /** Keeps what was read so far as `….previous`, and begins anew. Only while nobody publishes. */
  putAside(): void {
    copyFileSync(this.path, `${this.path}.previous`);
    truncateSync(this.path);
    this.taken = 0;
  }

  /** All lines of the time since the last but one `putAside()`, in the order in which they happened. */
  history(): JournalLine[] {
    return [...linesOf(`${this.path}.previous`), ...this.lines()].sort((a, b) =>
      BigInt(a.at) < BigInt(b.at) ? -1 : 1,
    );
  }

  private lines(): JournalLine[] {
    return linesOf(this.path);
  }

  private take(line: JournalLine): void {
    switch (line.did) {
      case 'committing': {
        const beganAt = BigInt(line.at);
        this.open.set(line.transaction, { ids: line.ids, beganAt });
        for (const id of line.ids)
          if (!this.commits.has(id)) this.commits.set(id, { beganAt, endedAt: null });
        return;
      }
      case 'committed': {
        const begun = this.open.get(line.transaction);
        if (begun === undefined) return;
        this.open.delete(line.transaction);
        this.transactions.committed += 1;
        for (const id of begun.ids)
          this.commits.set(id, { beganAt: begun.beganAt, endedAt: BigInt(line.at) });
        return;
      }
      case 'rolled back':
      case 'failed':
        this.transactions[line.did] += 1;
        return;
      case 'alarm':
        this.alarms[line.side].add(line.id);
        return;
      default:
    }
  }
}

function linesOf(path: string): JournalLine[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return text
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as JournalLine);
}
