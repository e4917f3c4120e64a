import type { Lane } from './lane';

/** Which transports to claim for, and how many rows. */
export interface ClaimGroup {
  readonly lanes: readonly Lane[];
  readonly limit: number;
}

export interface SendWindowSettings {
  readonly inFlightMax: number;
  readonly claimSizeMax: number;
}

/**
 * How many messages may be with the transports: so many in all, and so many each. What has an outcome that is not written
 * down yet counts as well: so a database that is away bounds the memory, and slows the sending down instead of losing
 * confirmations.
 *
 * The fast path and the resend job share the places. Fresh messages come without end where there is much to do, and would
 * starve the old ones; so while the resend job waits for room, the fast path leaves a quarter free.
 */
export class SendWindow {
  flying = 0;
  unwritten = 0;
  private reserved = 0;
  private waiter: (() => void) | null = null;

  constructor(
    private readonly settings: SendWindowSettings,
    private readonly lanes: readonly Lane[],
  ) {}

  /** How many of the queue may go to this transport now. */
  fastPathRoom(lane: Lane): number {
    if (this.waiter === null) return Math.max(0, Math.min(this.room, lane.room));
    return Math.max(
      0,
      Math.min(this.room - quarter(this.settings.inFlightMax), lane.room - quarter(lane.concurrencyMax)),
    );
  }

  /**
   * What the resend job may claim now, as few claims as possible: one for all transports with room for a full claim, and
   * one for each with less. Transports whose room is hardly worth a query are left out.
   * @param exhausted transports that have nothing due.
   */
  claimGroups(exhausted: ReadonlySet<Lane>): ClaimGroup[] {
    const { inFlightMax, claimSizeMax } = this.settings;
    const limit = Math.min(claimSizeMax, this.room);
    if (limit < Math.min(claimSizeMax, quarter(inFlightMax))) return [];
    const wanted = this.lanes.filter((lane) => lane.gate.isOpen && !exhausted.has(lane));
    const wide = wanted.filter((lane) => lane.room >= limit);
    const narrow = wanted.filter((lane) => lane.room < limit && lane.room >= quarter(lane.concurrencyMax));
    const groups = narrow.map((lane) => ({ lanes: [lane], limit: lane.room }));
    return wide.length > 0 ? [{ lanes: wide, limit }, ...groups] : groups;
  }

  /**
   * Keeps places for a claim, before it is made: while it runs, the fast path goes on.
   * @returns how many rows to claim, at most; and what gives the places back.
   */
  reserve(group: ClaimGroup): { readonly limit: number; readonly giveBack: () => void } {
    const limit = Math.max(0, Math.min(group.limit, this.room));
    this.reserved += limit;
    for (const lane of group.lanes) lane.reserved += limit;
    const giveBack = (): void => {
      this.reserved -= limit;
      for (const lane of group.lanes) lane.reserved -= limit;
    };
    return { limit, giveBack };
  }

  /** Resolves when there is something to claim for, or no open transport any more. For one caller at a time. */
  whenClaimable(): Promise<void> {
    return new Promise((resolve) => {
      this.waiter = resolve;
    });
  }

  /** Room or gates have changed. @param giveUp let the waiting one go in any case. */
  changed(exhausted: ReadonlySet<Lane>, giveUp = false): void {
    if (this.waiter === null) return;
    const open = this.lanes.some((lane) => lane.gate.isOpen && !exhausted.has(lane));
    if (open && !giveUp && this.claimGroups(exhausted).length === 0) return;
    const resolve = this.waiter;
    this.waiter = null;
    resolve();
  }

  private get room(): number {
    return this.settings.inFlightMax - this.flying - this.unwritten - this.reserved;
  }
}

function quarter(max: number): number {
  return Math.max(1, Math.floor(max / 4));
}
