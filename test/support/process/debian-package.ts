import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** A server's program, the Debian package that brings it, and the way out where there is no apt-get. */
export interface RequiredProgram {
  find(): string | undefined;
  packageName: string;
  environmentVariable: string;
}

/** The path of a program; on Debian, as root, its package is installed first when it is missing. */
export async function requireProgram(program: RequiredProgram): Promise<string> {
  const present = program.find();
  if (present) return present;
  const { packageName, environmentVariable } = program;
  const remedy = `install it (apt-get install ${packageName}) or point ${environmentVariable} at a server of yours`;
  if (!(await mayInstall())) {
    throw new Error(`The tests need ${packageName}, which is not installed: ${remedy}`);
  }
  process.stderr.write(`installing ${packageName}, which the tests need\n`);
  await aptInstall(packageName).catch((error: Error) => {
    throw new Error(`The tests need ${packageName}, and apt-get failed: ${remedy}\n${error.message}`);
  });
  const installed = program.find();
  if (!installed)
    throw new Error(`${packageName} is installed but brought no program that we know: ${remedy}`);
  return installed;
}

/** Whether this is Debian, or one of its kin, and we are root. */
export async function mayInstall(): Promise<boolean> {
  return process.getuid?.() === 0 && (await isExecutable('/usr/bin/apt-get'));
}

/** Installs a package while nothing may start its service: the tests start servers of their own. */
async function aptInstall(packageName: string): Promise<void> {
  const options = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    maxBuffer: 64 * 1024 * 1024,
  };
  const aptGet = (...args: string[]) =>
    run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...args], options);
  const ownPolicy = !(await isExecutable(POLICY_FILE));
  if (ownPolicy) await writeFile(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const install = () => aptGet('install', '-y', '--no-install-recommends', packageName);
    await aptGet('update');
    await install();
  } finally {
    if (ownPolicy) await rm(POLICY_FILE, { force: true });
  }
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
