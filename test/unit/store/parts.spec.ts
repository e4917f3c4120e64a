import { chunksOf, insertableChunks } from '../../../lib/store/chunks';
import {
  duplicateIdOf,
  isLockTimeoutError,
  isMissingTableError,
  isTransientError,
  retryTransient,
} from '../../../lib/store/database-errors';
import { bySeq } from '../../../lib/store/message-row';
import { fitText } from '../../../lib/store/message-limits';
import { message } from '../../contracts/outbox-store.harness';

describe('chunks', () => {
  it('cut a list, and keep one that is short enough as it is', () => {
    const short = [1, 2];
    expect(chunksOf(short, 2)[0]).toBe(short);
    expect(chunksOf([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]]);
    expect(chunksOf([], 2)).toEqual([]);
  });

  it('cut messages by number and by bytes, and never leave one out', () => {
    const messages = [10, 10, 30, 5, 5].map((size) => message({ payload: Buffer.alloc(size) }));
    const sizes = (rowsMax: number, bytesMax: number): number[][] =>
      insertableChunks(messages, rowsMax, bytesMax).map((chunk) =>
        chunk.map(({ payload }) => payload.length),
      );
    expect(sizes(9, 20)).toEqual([[10, 10], [30], [5, 5]]);
    expect(sizes(2, 1_000)).toEqual([[10, 10], [30, 5], [5]]);
    expect(insertableChunks([], 1, 1)).toEqual([]);
  });
});

describe('errors of the database', () => {
  it.each([
    [{ errno: 1213 }, true, false],
    [{ errno: 1205 }, true, true],
    [{ errno: 1020 }, true, false],
    [{ code: '40001' }, true, false],
    [{ code: '40P01' }, true, false],
    [{ code: '55P03' }, false, true],
    [{ code: '23505' }, false, false],
    [{ driverError: { code: '40001' } }, true, false],
    [{ driverError: { errno: 1062, code: 'ER_DUP_ENTRY' } }, false, false],
    [null, false, false],
    ['deadlock', false, false],
  ])('%j: transient %p, lock time-out %p', (error, transient, lockTimeout) => {
    expect([isTransientError(error), isLockTimeoutError(error)]).toEqual([transient, lockTimeout]);
  });

  it('name the id that was taken', () => {
    const id = '0198c5a4-8a55-7000-8000-000000000001';
    expect(
      duplicateIdOf({ driverError: { code: '23505', detail: `Key (id)=(${id}) already exists.` } }),
    ).toBe(id);
    expect(duplicateIdOf({ errno: 1062, message: `Duplicate entry '${id}' for key 'PRIMARY'` })).toBe(id);
    expect(duplicateIdOf({ errno: 1062, message: 'Duplicate entry' })).toBe('');
    expect(duplicateIdOf({ errno: 1213, message: id })).toBeNull();
  });

  it('tell a missing table from a missing column', () => {
    expect([{ errno: 1146 }, { code: '42P01' }, { code: '42703' }].map(isMissingTableError)).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('are tried again while they are transient, and not for ever', async () => {
    const deadlock = Object.assign(new Error('deadlock'), { errno: 1213 });
    const work = jest.fn().mockRejectedValueOnce(deadlock).mockResolvedValueOnce('done');
    expect(await retryTransient(work)).toBe('done');
    const always = jest.fn().mockRejectedValue(deadlock);
    await expect(retryTransient(always, 3)).rejects.toBe(deadlock);
    expect(always).toHaveBeenCalledTimes(3);
    const other = jest.fn().mockRejectedValue(new Error('other'));
    await expect(retryTransient(other)).rejects.toThrow('other');
    expect(other).toHaveBeenCalledTimes(1);
  });
});

describe('texts and rows', () => {
  it('are cut without leaving half of a character, and without NULs', () => {
    expect(fitText('ab😀', 3)).toBe('ab\uFFFD');
    expect(fitText('a\0b', 9)).toBe('ab');
    expect(fitText('😀é', 9)).toBe('😀é');
  });

  it('are sorted by numbers that no double holds', () => {
    const rows = ['9007199254740993', '9007199254740992', '10', '9'].map((seq) => ({ seq }));
    expect(bySeq(rows).map(({ seq }) => seq)).toEqual(['9', '10', '9007199254740992', '9007199254740993']);
  });
});
