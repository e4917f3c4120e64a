import { HandlerArguments } from '../../../lib/idempotency/handler-arguments';

describe('the arguments of a handler', () => {
  it('of one message are one delivery', async () => {
    const message = { properties: {} };
    const given = new HandlerArguments(['payload', message, {}]);
    expect(given.deliveries).toEqual([{ index: 0, payload: 'payload', message }]);
    expect(await given.only(given.deliveries, () => Promise.resolve('done'))).toBe('done');
  });

  it('of a batch are narrowed while work is done, and whole afterwards, whatever the handler did to them', async () => {
    const args = [
      ['a', 'b', 'c'],
      [1, 2, 3],
      [{ n: 1 }, { n: 2 }, { n: 3 }],
    ];
    const given = new HandlerArguments(args);
    const [, second, third] = given.deliveries;
    await given.only([second, third] as never, async () => {
      expect(args).toEqual([
        ['b', 'c'],
        [2, 3],
        [{ n: 2 }, { n: 3 }],
      ]);
      args[0]?.reverse();
      args[1]?.splice(0);
    });
    expect(args).toEqual([
      ['a', 'b', 'c'],
      [1, 2, 3],
      [{ n: 1 }, { n: 2 }, { n: 3 }],
    ]);
  });

  it('of a batch are whole after a failure, too', async () => {
    const args = [
      ['a', 'b'],
      [1, 2],
      [{}, {}],
    ];
    const given = new HandlerArguments(args);
    await expect(given.only([], () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(args[1]).toEqual([1, 2]);
  });

  it('of a batch may have no headers', async () => {
    const args = [['a', 'b'], [1, 2], undefined];
    const given = new HandlerArguments(args);
    await given.only([given.deliveries[1]] as never, async () => {
      expect(args).toEqual([['b'], [2], undefined]);
    });
  });
});
