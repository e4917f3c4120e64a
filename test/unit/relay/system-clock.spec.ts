import { systemClock } from '../../../lib/core/clock';

const DAY_MS = 86_400_000;

describe('the system clock', () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  it.each([5, 30 * DAY_MS, 120 * DAY_MS])('calls back after %d ms, and not before', (delayMs) => {
    const callback = jest.fn();
    systemClock.after(delayMs, callback);
    jest.advanceTimersByTime(delayMs - 1);
    expect(callback).toHaveBeenCalledTimes(0);
    jest.advanceTimersByTime(2);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  it('never calls back when it is cancelled, however late', () => {
    const callback = jest.fn();
    const cancel = systemClock.after(60 * DAY_MS, callback);
    jest.advanceTimersByTime(40 * DAY_MS);
    cancel();
    cancel();
    jest.advanceTimersByTime(40 * DAY_MS);
    expect(callback).not.toHaveBeenCalled();
  });
});
