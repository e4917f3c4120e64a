import { setTimeout as delay } from 'node:timers/promises';
import { TestEnvironment } from 'jest-environment-node';
import { PATIENCE } from '../patience';
import { trackedResourcesOf } from '../process/tracked-resources';

/** Kinds of libuv handles that a spec must close; anything else belongs to jest or to Node itself. */
const WATCHED = new Set(['TCPSocketWrap', 'TCPServerWrap', 'ProcessWrap', 'PipeWrap', 'Timeout']);

/** A closed socket leaves the event loop a little later than its owner hears of it. */
const GRACE_MS = 2_000;

interface Limited {
  timeout?: number;
}

/** Of jest-circus, as far as it is used here. */
interface TestEvent {
  readonly name: string;
  readonly test?: Limited;
  readonly hook?: Limited;
}

interface TestState {
  testTimeout: number;
  readonly unhandledErrors: unknown[];
}

/** Fails a spec file that ends with a server, connection, child process or timer of its own still open. */
export default class LeakCheckingEnvironment extends TestEnvironment {
  private before = new Map<string, number>();
  private readonly limited = new WeakSet<Limited>();

  override async setup(): Promise<void> {
    await super.setup();
    this.before = watchedHandles();
  }

  async handleTestEvent(event: TestEvent, state: TestState): Promise<void> {
    if (event.name === 'run_start') state.testTimeout *= PATIENCE;
    for (const limited of [event.test, event.hook]) {
      const starts = event.name === 'test_start' || event.name === 'hook_start';
      if (starts && limited?.timeout !== undefined && !this.limited.has(limited)) {
        // A hook of many tests starts many times.
        this.limited.add(limited);
        limited.timeout *= PATIENCE;
      }
    }
    if (event.name !== 'run_finish') return;
    let leaks = this.leaks();
    for (const deadline = Date.now() + GRACE_MS; leaks.length > 0 && Date.now() < deadline;) {
      await delay(10);
      leaks = this.leaks();
    }
    if (leaks.length === 0) return;
    const error = new Error(`This file leaves open: ${leaks.join(', ')}`);
    error.stack = error.message;
    // Not thrown: that would hide the outcomes of the file's tests.
    state.unhandledErrors.push(error);
  }

  private leaks(): string[] {
    const servers = [...trackedResourcesOf(this.global).values()];
    const handles = [...watchedHandles()]
      .map(([kind, count]) => ({ kind, more: count - (this.before.get(kind) ?? 0) }))
      .filter(({ more }) => more > 0)
      .map(({ kind, more }) => `${more} more ${kind}`);
    return [...servers, ...handles];
  }
}

function watchedHandles(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    if (WATCHED.has(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}
