import { parseArgs } from 'node:util';

export type DatabaseType = 'postgres' | 'mysql';

/** What `npm run bench -- …` was asked for, with every default in its place. */
export interface BenchOptions {
  /** Groups or rows, by name; empty: all. */
  readonly only: readonly string[];
  readonly databases: readonly DatabaseType[];
  /** How often each variant of a row runs, in turns. */
  readonly rounds: number;
  readonly peers: boolean;
  /** Small numbers, to see that everything runs. The figures mean nothing. */
  readonly quick: boolean;
  /** Further copy of the results. */
  readonly json: string | undefined;
  /** Where each process leaves its CPU profile. */
  readonly profile: string | undefined;
  readonly messages: number;
  readonly payloads: readonly number[];
  readonly relays: readonly number[];
  readonly seconds: number;
  readonly notDue: number;
  readonly sent: number;
  readonly stuck: number;
  readonly memoryRows: number;
  readonly snapshotMinutes: number;
  readonly snapshotRate: number;
  readonly idleSeconds: number;
}

interface NumberOption {
  readonly name: string;
  readonly usual: number;
  readonly quick: number;
  readonly help: string;
}

const NUMBERS = {
  rounds: { name: 'rounds', usual: 3, quick: 1, help: 'how often each variant of a row runs, in turns' },
  messages: { name: 'messages', usual: 50_000, quick: 2_000, help: 'messages of a backlog' },
  seconds: { name: 'seconds', usual: 15, quick: 2, help: 'how long a load lasts' },
  notDue: { name: 'not-due', usual: 1_000_000, quick: 5_000, help: 'delayed rows beside the due ones' },
  sent: { name: 'sent', usual: 5_000_000, quick: 5_000, help: 'sent rows beside the due ones' },
  stuck: { name: 'stuck', usual: 40_000, quick: 1_000, help: 'rows that wait behind one stuck key' },
  memoryRows: { name: 'memory-rows', usual: 1_000_000, quick: 5_000, help: 'backlog of the row memory' },
  snapshotMinutes: {
    name: 'snapshot-minutes',
    usual: 10,
    quick: 0.2,
    help: 'how long the row snapshot holds one',
  },
  snapshotRate: { name: 'snapshot-rate', usual: 200, quick: 50, help: 'transactions per second of it' },
  idleSeconds: { name: 'idle-seconds', usual: 60, quick: 5, help: 'how long the row idle watches' },
} satisfies Record<string, NumberOption>;

const HELP = `npm run bench -- [options]

  --only A,B         groups or rows, by name (see --list)
  --database A,B     postgres, mysql (default: postgres)
  --payload A,B      bytes of a payload, for the backlogs without key (default: 512)
  --relays A,B       relay processes at once, likewise (default: 1)
  --no-peers         leave graphile-worker, pg-boss and pg-transactional-outbox out
  --json FILE        a further copy of the results
  --profile DIR      each process leaves its CPU profile there
  --quick            small numbers, one round: does everything run? The figures mean nothing
  --list             what there is
${Object.values(NUMBERS)
  .map(({ name, usual, help }) => `  --${`${name} N`.padEnd(17)}${help} (default: ${usual})`)
  .join('\n')}
`;

/** @returns the options, or the text that was asked for instead */
export function readOptions(argv: readonly string[]): BenchOptions | 'help' | 'list' {
  const { values } = parseArgs({
    args: [...argv],
    allowNegative: true,
    options: {
      only: { type: 'string' },
      database: { type: 'string' },
      payload: { type: 'string' },
      relays: { type: 'string' },
      peers: { type: 'boolean' },
      json: { type: 'string' },
      profile: { type: 'string' },
      quick: { type: 'boolean' },
      list: { type: 'boolean' },
      help: { type: 'boolean' },
      ...Object.fromEntries(Object.values(NUMBERS).map(({ name }) => [name, { type: 'string' as const }])),
    },
  });
  if (values.help === true) return 'help';
  if (values.list === true) return 'list';
  const quick = values.quick === true;
  const given = values as Readonly<Record<string, string | boolean | undefined>>;
  const text = (name: string): string | undefined => given[name] as string | undefined;
  const number = ({ name, usual, quick: small }: NumberOption): number =>
    text(name) === undefined ? (quick ? small : usual) : positive(name, text(name)!);
  return {
    only: list(text('only') ?? ''),
    databases: list(text('database') ?? 'postgres').map(databaseOf),
    payloads: list(text('payload') ?? '512').map((size) => positive('payload', size)),
    relays: list(text('relays') ?? '1').map((count) => positive('relays', count)),
    peers: values.peers ?? true,
    quick,
    json: text('json'),
    profile: text('profile'),
    ...(Object.fromEntries(
      Object.entries(NUMBERS).map(([property, option]) => [property, number(option)]),
    ) as Record<keyof typeof NUMBERS, number>),
  };
}

export function helpText(): string {
  return HELP;
}

function list(text: string): string[] {
  return text.split(',').filter((item) => item !== '');
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`--${name} is "${text}"; give a number above 0`);
  return value;
}

function databaseOf(name: string): DatabaseType {
  if (name === 'postgres' || name === 'mysql') return name;
  throw new Error(`--database has "${name}"; give postgres or mysql`);
}
