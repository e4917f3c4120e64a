import { type SharedServerHost } from './shared-server-host';

const GRACE_MS = 5_000;

/** Stops the shared servers, and does not let what a spec has left running keep jest from ending. */
export default async function globalTeardown(): Promise<void> {
  await (globalThis as { sharedServerHost?: SharedServerHost }).sharedServerHost?.close();
  // A spec that runs in jest's own process may leave a handle there that never closes. This timer keeps nothing
  // alive itself, so it fires only in that case.
  setTimeout(() => {
    process.stderr.write(
      `jest is ended by force: ${process.getActiveResourcesInfo().join(', ')} still open\n`,
    );
    process.exit(1);
  }, GRACE_MS).unref();
}
