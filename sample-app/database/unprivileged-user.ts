import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { ShopError } from '../shop.error';

export interface UnprivilegedUser {
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL refuses to run as root: then it runs as "nobody". Otherwise as whoever runs the shop (undefined). */
export function unprivilegedUser(): UnprivilegedUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const entry = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === 'nobody');
  if (!entry) {
    throw new ShopError('PostgreSQL does not run as root, and there is no user "nobody"; set DATABASE_URL');
  }
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

/** Whether every user may pass through this directory and all above it. A home with mode 700 stops them. */
export function isOpenToAll(path: string): boolean {
  for (let current = resolve(path); ; current = dirname(current)) {
    if ((statSync(current).mode & 0o001) === 0) return false;
    if (current === dirname(current)) return true;
  }
}
