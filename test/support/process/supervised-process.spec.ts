import { transformFileSync } from '@swc/core';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '../wait-for';
import { isAlive } from './supervised-process';

/** Starts a supervised process, prints its id and waits to be killed. */
const OWNER = `
const { SupervisedProcess } = require('./supervised-process.js');
const directory = __dirname + '/server';
SupervisedProcess.start({ command: 'sleep', args: ['600'], directory, logFile: directory + '/log' }).then(
  ({ pid }) => process.stdout.write(String(pid)),
);
setInterval(() => {}, 1000);
`;

describe('a supervised process', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'nestjs-outbox-supervision-'));
    const { code } = transformFileSync(join(__dirname, 'supervised-process.ts'), {
      jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
      module: { type: 'commonjs' },
    });
    writeFileSync(join(directory, 'supervised-process.js'), code);
    writeFileSync(join(directory, 'owner.js'), OWNER);
    mkdirSync(join(directory, 'server'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it.each(['SIGKILL', 'SIGINT', 'SIGTERM'] as const)('ends when its owner dies of %s', async (death) => {
    const owner = spawn(process.execPath, [join(directory, 'owner.js')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(owner, 'exit');
    const [output] = (await once(owner.stdout, 'data')) as [Buffer];
    const pid = Number(output.toString());
    expect(isAlive(pid)).toBe(true);
    owner.kill(death);
    await ended;
    await waitFor(() => !isAlive(pid));
    await waitFor(() => !existsSync(join(directory, 'server')));
  });
});
