/**
 * How many times longer than usual a test waits before it fails. A machine that builds for many can be several times slower
 * than one's own, and a limit of time says nothing there. What passes does not take longer by it.
 */
export const PATIENCE = process.env.CI ? 4 : 1;
