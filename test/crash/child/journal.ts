import { openSync, writeSync } from 'node:fs';

import type { JournalLine } from '../protocol';

type Entry = JournalLine extends infer Line
  ? Line extends JournalLine
    ? Omit<Line, 'at' | 'by'>
    : never
  : never;

/** Written with a system call each: the kernel keeps what a killed process has written. */
export class Journal {
  private readonly file: number;

  constructor(
    path: string,
    private readonly by: string,
  ) {
    this.file = openSync(path, 'a');
  }

  write(entry: Entry): void {
    writeSync(
      this.file,
      `${JSON.stringify({ at: String(process.hrtime.bigint()), by: this.by, ...entry })}\n`,
    );
  }
}
