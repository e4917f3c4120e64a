import { Presets, SingleBar } from 'cli-progress';

/** Tells a person how far one part of the demo is. */
export interface Progress {
  step(by?: number): void;
  /** Something happened that they should know. */
  note(text: string): void;
  end(): void;
}

export function progress(label: string, total: number): Progress {
  return process.stdout.isTTY ? progressBar(label, total) : plainLines(label, total);
}

function progressBar(label: string, total: number): Progress {
  const format = `${label.padEnd(34)} |{bar}| {value}/{total} {note}`;
  const bar = new SingleBar({ format, hideCursor: true, barsize: 30 }, Presets.shades_classic);
  bar.start(total, 0, { note: '' });
  return {
    step: (by = 1) => bar.increment(by),
    note: (text) => bar.update({ note: text }),
    end: () => bar.stop(),
  };
}

/** For a log file: nothing that moves. */
function plainLines(label: string, total: number): Progress {
  let done = 0;
  console.log(`${label}: ${total}`);
  return {
    step: (by = 1) => void (done += by),
    note: (text) => console.log(`${label}: ${text}`),
    end: () => console.log(`${label}: ${done} done`),
  };
}
