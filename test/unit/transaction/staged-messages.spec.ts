import * as fc from 'fast-check';
import { type StagedMessage } from '../../../lib/core/message';
import { StagedMessages } from '../../../lib/transaction/staged-messages';

const message = (id: string) => ({ id }) as StagedMessage;
const idsOf = (staged: StagedMessages) => staged.unwritten.map(({ id }) => id);

describe('StagedMessages', () => {
  it('hands each message out once', () => {
    const staged = new StagedMessages();
    staged.add([message('a'), message('b')]);
    expect(staged.take().map(({ id }) => id)).toEqual(['a', 'b']);
    expect(staged.take()).toEqual([]);
    staged.add([message('c')]);
    expect(idsOf(staged)).toEqual(['c']);
    expect(staged.take().map(({ id }) => id)).toEqual(['c']);
  });

  it('takes a savepoint that it does not know for one from before the first message', () => {
    const staged = new StagedMessages();
    staged.add([message('a')]);
    staged.fail(new Error('x'), 0);
    staged.release('unknown');
    expect(idsOf(staged)).toEqual(['a']);
    expect(staged.failureFrom(0)).not.toBeNull();
    staged.rollBackTo('unknown');
    expect(idsOf(staged)).toEqual([]);
    expect(staged.failureFrom(0)).toBeNull();
  });

  it('keeps a failure that is released, and undoes one that is rolled back', () => {
    const staged = new StagedMessages();
    staged.setSavepoint('s');
    staged.fail(new Error('inside'), staged.depth);
    expect(staged.failureFrom(1)).not.toBeNull();
    staged.rollBackTo('s');
    expect(staged.failureFrom(0)).toBeNull();
    staged.fail(new Error('inside'), staged.depth);
    staged.release('s');
    staged.setSavepoint('s');
    expect(staged.failureFrom(1)).toBeNull();
    staged.rollBackTo('s');
    expect(staged.failureFrom(0)).not.toBeNull();
  });

  it('does as a server does, whatever the savepoints and their names', () => {
    const name = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      fc.record({ kind: fc.constant('publish' as const), name: fc.constant('') }),
      fc.record({ kind: fc.constantFrom('set' as const, 'release' as const, 'undo' as const), name }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const staged = new StagedMessages();
        const server = new ModelServer();
        steps.forEach(({ kind, name }, index) => {
          // The server refuses a savepoint that it does not have, and such a statement never reaches us as done.
          if (kind === 'publish') {
            staged.add([message(`m${index}`)]);
            server.rows.push(`m${index}`);
          } else if (kind === 'set') {
            staged.setSavepoint(name);
            server.set(name);
          } else if (server.has(name)) {
            if (kind === 'release') staged.release(name);
            else staged.rollBackTo(name);
            server[kind](name);
          }
        });
        expect(idsOf(staged)).toEqual(server.rows);
      }),
    );
  });
});

/** PostgreSQL's rules, by copying all rows at each savepoint. */
class ModelServer {
  rows: string[] = [];
  private points: { name: string; rows: string[] }[] = [];

  has(name: string): boolean {
    return this.points.some((point) => point.name === name);
  }

  set(name: string): void {
    this.points.push({ name, rows: [...this.rows] });
  }

  release(name: string): void {
    while (this.points.pop()!.name !== name);
  }

  undo(name: string): void {
    while (this.points.at(-1)!.name !== name) this.points.pop();
    this.rows = [...this.points.at(-1)!.rows];
  }
}
