import { createHash } from 'node:crypto';
import { chown, lstat, mkdir, readlink, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';

import { isOpenToAll, unprivilegedUser, type UnprivilegedUser } from './unprivileged-user';

/** Where the embedded PostgreSQL keeps its files, and as whom it runs (undefined: as ourselves). */
export interface PostgresHome {
  readonly path: string;
  readonly user: UnprivilegedUser | undefined;
}

/**
 * `postgres` in the data directory. Where root runs the shop below a directory that is closed to others (a clone in root's
 * own home), the server's user could not get there: then it is a symbolic link to a directory that it can get to.
 */
export async function postgresHome(dataDirectory: string): Promise<PostgresHome> {
  const path = join(dataDirectory, 'postgres');
  await mkdir(dataDirectory, { recursive: true });
  const user = unprivilegedUser();
  const existing = await lstat(path).catch(() => undefined);
  if (existing?.isDirectory()) {
    // Whoever began these files goes on with them.
    const { uid, gid } = existing;
    return { path, user: user && uid !== 0 ? { uid, gid } : user };
  }
  if (!user) {
    await mkdir(path, { mode: 0o700 });
    return { path, user };
  }
  return {
    path: isOpenToAll(dataDirectory) ? await makeOwned(path, user) : await linkElsewhere(path, user),
    user,
  };
}

/** The link is the truth: when somebody has removed it, the data behind it are meant to be gone, too. */
async function linkElsewhere(path: string, user: UnprivilegedUser): Promise<string> {
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 16);
  const elsewhere = `/var/tmp/nestjs-outbox-shop-${digest}`;
  const isLinked = (await readlink(path).catch(() => undefined)) === elsewhere;
  if (isLinked && (await lstat(elsewhere).catch(() => undefined))?.isDirectory()) return elsewhere;
  await rm(elsewhere, { recursive: true, force: true });
  await rm(path, { force: true });
  await makeOwned(elsewhere, user);
  await symlink(elsewhere, path);
  return elsewhere;
}

async function makeOwned(path: string, user: UnprivilegedUser): Promise<string> {
  await mkdir(path, { mode: 0o700 });
  await chown(path, user.uid, user.gid);
  return path;
}
