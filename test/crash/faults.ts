import { setTimeout as delay } from 'node:timers/promises';

import type { TcpProxy } from '../support/tcp-proxy';
import { waitFor } from '../support/wait-for';
import type { Fleet } from './fleet/fleet';
import type { Member } from './fleet/member';
import type { Killable, Servers } from './fleet/servers';
import type { Fault, Link } from './plan';

const UP_TIMEOUT_MS = 10_000;
const ARMED_MS = 5_000;
const SLOW_MS = 200;
/** A pooler closes what was not used for so long. */
const IDLE_MS = 300;

/** What came of a fault: it happened, or there was nothing that it could happen to. */
export type FaultOutcome = 'injected' | 'passed by';

/** Does to the fleet and to the servers what the plan says. Whatever it does is undone when its promise resolves. */
export class Faults {
  private serverBusy = false;

  constructor(
    private readonly fleet: Fleet,
    private readonly servers: Servers,
    private readonly leaseMs: number,
  ) {}

  async inject(fault: Fault): Promise<FaultOutcome> {
    switch (fault.kind) {
      case 'kill and restart the broker':
        return this.killServer(this.servers.broker.own, fault.ms);
      case 'kill and restart the database':
        return this.killServer(this.servers.database.own, fault.ms);
      default: {
        const members = this.fleet.of(fault.member);
        return this.on(members[fault.which % members.length]!, fault);
      }
    }
  }

  private async on(
    member: Member,
    fault: Exclude<Fault, { kind: `kill and restart ${string}` }>,
  ): Promise<FaultOutcome> {
    if (!(await isUp(member))) return 'passed by';
    member.busy = true;
    try {
      switch (fault.kind) {
        case 'kill at a point':
          return await this.killAt(member, fault.point, fault.passages);
        case 'kill at random':
          await delay(fault.afterMs);
          member.child.signal('SIGKILL');
          await member.child.ended;
          return 'injected';
        case 'shut down and start':
          void member.run({ do: 'close' }).catch(() => undefined);
          await member.child.ended;
          return 'injected';
        case 'stop and continue':
          member.child.signal('SIGSTOP');
          await delay(fault.leases * this.leaseMs);
          member.child.signal('SIGCONT');
          return 'injected';
        default:
          return await this.disturb(linkOf(member, fault.link), fault);
      }
    } finally {
      member.busy = false;
    }
  }

  private async killAt(
    member: Member,
    point: Extract<Fault, { kind: 'kill at a point' }>['point'],
    passages: number,
  ): Promise<FaultOutcome> {
    const { child } = member;
    const inShutdown = point === 'in shutdown';
    await child.run({ do: 'arm', point, passages: inShutdown ? 1 : passages });
    if (inShutdown) child.run({ do: 'close' }).catch(() => undefined);
    const survived = new AbortController();
    const end = await Promise.race([
      child.ended,
      delay(ARMED_MS, 'survived', { signal: survived.signal }).catch(() => ''),
    ]);
    survived.abort();
    if (end !== 'survived') return 'injected';
    await child.run({ do: 'disarm' }).catch(() => undefined);
    if (!inShutdown) return 'passed by';
    child.signal('SIGKILL');
    await child.ended;
    return 'injected';
  }

  private async disturb(
    proxy: TcpProxy,
    fault: Extract<Fault, { readonly link: Link }>,
  ): Promise<FaultOutcome> {
    switch (fault.kind) {
      case 'cut':
        proxy.cut();
        return 'injected';
      case 'reset idle connections':
        return proxy.cut({ idleMs: IDLE_MS }) > 0 ? 'injected' : 'passed by';
      case 'stall':
        proxy.stall();
        await delay(fault.ms);
        proxy.resume();
        return 'injected';
      case 'slow':
        proxy.latencyMs = SLOW_MS;
        await delay(fault.ms);
        proxy.latencyMs = 0;
        return 'injected';
      case 'refuse':
        proxy.refuse();
        proxy.cut();
        await delay(fault.ms);
        await proxy.accept();
        return 'injected';
    }
  }

  private async killServer(server: Killable | null, ms: number): Promise<FaultOutcome> {
    if (server === null || this.serverBusy) return 'passed by';
    this.serverBusy = true;
    try {
      await server.kill();
      await delay(ms);
      await server.restart();
      return 'injected';
    } finally {
      this.serverBusy = false;
    }
  }
}

/** Whether it serves, and no other fault is on it; a process that was just killed is given time to come back. */
function isUp(member: Member): Promise<boolean> {
  const up = (): boolean => !member.busy && member.child.isReady && !member.child.hasEnded;
  return waitFor(up, { timeoutMs: UP_TIMEOUT_MS }).catch(() => false);
}

const linkOf = (member: Member, link: Link): TcpProxy =>
  link === 'database' ? member.database : member.broker;
