import type { Breakage, MemberKind } from '../protocol';
import { Random } from '../random';
import { Member, type Pace } from './member';
import type { Servers } from './servers';

/** How many processes of each kind. */
export type FleetSize = Readonly<Record<MemberKind, number>>;

export interface FleetSettings {
  readonly servers: Servers;
  readonly journal: string;
  readonly leaseMs: number;
  readonly pace: Pace;
  readonly seed: number;
  readonly size: FleetSize;
  readonly breakage: Breakage | null;
}

/** Producers, relays and consumers, each in a process of its own. */
export class Fleet {
  private constructor(readonly members: readonly Member[]) {}

  static async start({ servers, size, seed, pace, ...settings }: FleetSettings): Promise<Fleet> {
    const { type, url } = servers.database;
    const task = { ...settings, database: { type, url }, rabbitMqUrl: servers.broker.url };
    const names = (['consumer', 'relay', 'producer'] as const).flatMap((kind) =>
      Array.from({ length: size[kind] }, (_, index) => ({ kind, name: `${kind}-${index + 1}` })),
    );
    const members = await Promise.all(
      names.map(({ kind, name }, index) =>
        Member.open({ kind, name, task, pace, random: new Random(seed + index * 104_729) }),
      ),
    );
    const fleet = new Fleet(members);
    await fleet.ready();
    return fleet;
  }

  of(kind: MemberKind): readonly Member[] {
    return this.members.filter((member) => member.kind === kind);
  }

  async ready(): Promise<void> {
    await Promise.all(this.members.map((member) => member.ready()));
  }

  produce(): void {
    for (const member of this.members) member.produce();
  }

  async halt(): Promise<void> {
    await Promise.all(this.members.map((member) => member.halt()));
  }

  /** @returns what is wrong with how they ended. */
  async close(): Promise<string[]> {
    const problems = await Promise.all(this.members.map((member) => member.close()));
    return problems.filter((problem) => problem !== null);
  }

  async kill(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
  }
}
