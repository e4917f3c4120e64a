import { getDataSourceToken } from '@nestjs/typeorm';
import { DeadLetters, Outbox } from 'nestjs-outbox';
import type { DataSource } from 'typeorm';

import { OUTBOX_PART, outboxToken } from '../../../lib/core/tokens';
import type { OutboxAssembly } from '../../../lib/outbox.assembly';
import type { MemberCommand, MemberTask } from '../protocol';
import { startApplication } from './application';
import { breakDown } from './breakages';
import { Journal } from './journal';
import { installDriverKillPoints, installKillPoints, KillPoints } from './kill-points';
import { connectionsInUse } from './pool';
import { skewClock } from './skewed-clock';
import { Traffic } from './traffic';
import { installWitness } from './witness';

async function main(task: MemberTask, journal: Journal): Promise<void> {
  skewClock(task.clockOffsetMs);
  const killPoints = new KillPoints(journal);
  journal.write({ did: 'start' });
  installDriverKillPoints(killPoints);
  const app = await startApplication({ task, journal, killPoints });
  const assembly = app.get<OutboxAssembly>(outboxToken(OUTBOX_PART.assembly));
  const dataSource = app.get<DataSource>(getDataSourceToken());
  installWitness(assembly, journal);
  breakDown(task.breakage, assembly, dataSource);
  installKillPoints(killPoints, assembly);
  const traffic = new Traffic(app.get(Outbox), dataSource, journal);

  const run = async (command: MemberCommand): Promise<unknown> => {
    switch (command.do) {
      case 'produce':
        return traffic.start(command);
      case 'halt':
        return traffic.halt();
      case 'arm':
        return killPoints.arm(command.point, command.passages);
      case 'disarm':
        return killPoints.disarm();
      case 'redrive':
        return (await app.get(DeadLetters).redrive({})).ids.length;
      case 'connections':
        return connectionsInUse(dataSource);
      case 'close':
        await traffic.halt();
        await app.close();
        journal.write({ did: 'close' });
        return undefined;
    }
  };
  process.on('message', ({ id, command }: { id: number; command: MemberCommand }) => {
    void run(command)
      .then(
        (result) => ({ id, result }),
        (error: unknown) => ({ id, error: String(error) }),
      )
      .then((answer) => {
        process.send?.(answer);
        // From here on nothing may keep the process alive: what does is a leak, and the fleet notices.
        if (command.do === 'close') process.disconnect();
      });
  });
  process.on('disconnect', () => {
    if (!closing) process.exit(0);
  });
  let closing = false;
  process.on('message', ({ command }: { command: MemberCommand }) => {
    if (command.do === 'close') closing = true;
  });
  journal.write({ did: 'ready' });
  process.send?.({ ready: true });
}

const task = JSON.parse(process.argv[2] ?? '{}') as MemberTask;
const journal = new Journal(task.journal, task.name);
main(task, journal).catch((error: unknown) => {
  // It may not find its servers just now: the fleet starts it again.
  journal.write({ did: 'log', text: `could not start: ${String(error)}` });
  process.exit(1);
});
