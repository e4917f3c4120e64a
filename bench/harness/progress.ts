import { SingleBar } from 'cli-progress';

/** One line that says how far a row is; where the output is no terminal, a line for each step. */
export class Progress {
  private readonly bar = new SingleBar({
    format: '{bar} {value}/{total} {doing}',
    hideCursor: true,
    clearOnComplete: true,
    noTTYOutput: false,
  });
  private readonly isTerminal = process.stderr.isTTY;

  begin(): void {
    if (this.isTerminal) this.bar.start(1, 0, { doing: '' });
  }

  readonly show = (done: number, all: number, doing: string): void => {
    if (!this.isTerminal) {
      console.error(`${done}/${all} ${doing}`);
      return;
    }
    this.bar.setTotal(all);
    this.bar.update(done, { doing });
  };

  end(): void {
    if (this.isTerminal) this.bar.stop();
  }
}
