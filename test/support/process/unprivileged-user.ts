import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

export interface UnprivilegedUser {
  uid: number;
  gid: number;
}

/** Whom a server runs as that refuses to run as root: nobody, when we are root; otherwise ourselves. */
export function unprivilegedUser(): UnprivilegedUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const entry = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === 'nobody');
  if (!entry) throw new Error('This suite runs as root and there is no user "nobody" to run PostgreSQL as');
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

/** Whether every user may pass through this directory and all those above it. */
export function isTraversable(path: string): boolean {
  for (let current = resolve(path); ; current = dirname(current)) {
    if ((statSync(current).mode & 0o001) === 0) return false;
    if (current === dirname(current)) return true;
  }
}
