import 'reflect-metadata';
import { OUTBOX_PART, outboxToken } from '../../../lib/core/tokens';
import type { OutboxAssembly } from '../../../lib/outbox.assembly';
import { OutboxEvents, OutboxRelay } from 'nestjs-outbox';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';

import { waitFor } from '../../support/wait-for';
import { startThinSlice } from '../../integration/module/thin-slice';
import { BEFORE_ALARM, type ProcessCommand, type ProcessTask } from './process-task';

const die = (): never => {
  process.kill(process.pid, 'SIGKILL');
  // The signal arrives while this line is reached; nothing after it may run.
  for (;;);
};

function installCrashPoint(killAt: ProcessTask['killAt'], assembly: OutboxAssembly): void {
  const { outbox: store } = assembly.stores;
  const listener = assembly.relay.commitListener;
  const transport = [...assembly.transports.values()][0];
  const send = transport?.send.bind(transport);
  switch (killAt) {
    case 'after the row, before COMMIT': {
      const write = store.write.bind(store);
      store.write = async (statements, ...args) => {
        // One by one: in one round trip there is no time between the two.
        await write({ query: (...given) => statements.query(...given) }, ...args);
        return die();
      };
      return;
    }
    case 'after COMMIT, before the hand-over':
      listener.committed = die;
      return;
    case 'after the hand-over, before the send':
      if (transport !== undefined) transport.send = die;
      return;
    case 'after the send, before the confirmation is seen':
      if (transport !== undefined && send !== undefined) transport.send = (messages) => send(messages, die);
      return;
    case 'after the confirmation, before it is written down':
      store.complete = die;
      return;
    case 'after it is written down': {
      const complete = store.complete.bind(store);
      store.complete = async (ids) => {
        await complete(ids);
        return die();
      };
      return;
    }
    case 'in shutdown':
      store.close = die;
      return;
    case BEFORE_ALARM: {
      const fail = store.fail.bind(store);
      store.fail = async (failures) => {
        await fail(failures);
        return die();
      };
      return;
    }
    case null:
      return;
  }
}

async function main(task: ProcessTask): Promise<void> {
  let alarms = 0;
  const { app, orders } = await startThinSlice(
    { ...task.database, name: '', drop: () => Promise.resolve() },
    {
      role: task.role,
      transport: rabbitMq({
        exchange: 'shop',
        sendTimeoutMs: Math.floor(task.leaseMs / 3),
        unroutable: task.refusesUnroutable ? 'deadLetter' : 'retry',
      }),
      alarm: () => {
        alarms += 1;
      },
      relay: {
        leaseMs: task.leaseMs,
        intervalMs: 200,
        idleIntervalMaxMs: 500,
        sweepIntervalMs: 500,
        probeIntervalMs: 200,
      },
      idempotency: { retryDelaysMs: [200] },
    },
    task.rabbitMqUrl,
    { registerHandlers: task.consumes },
  );
  const assembly = app.get<OutboxAssembly>(outboxToken(OUTBOX_PART.assembly));
  // Started while the broker was slow to answer, it would leave its first messages to others.
  if (task.role === 'full')
    for (const transport of assembly.transports.values()) await waitFor(() => transport.probe());
  installCrashPoint(task.killAt, assembly);
  const tell = (message: object): void => void process.send?.(message);
  let sent = 0;
  app.get(OutboxEvents).on('message.sent', () => {
    sent += 1;
  });
  const run = async (command: ProcessCommand): Promise<object> => {
    switch (command.do) {
      case 'place': {
        const placed = await Promise.allSettled(
          command.ids.map((id) => orders.place(id, command.customerId)),
        );
        return { failed: placed.filter(({ status }) => status === 'rejected').length };
      }
      case 'flush':
        await app.get(OutboxRelay).flush({ timeoutMs: 20_000 });
        return {};
      case 'pause':
        app.get(OutboxRelay).pause();
        return {};
      case 'resume':
        app.get(OutboxRelay).resume();
        return {};
      case 'stats':
        return { sentHere: sent, alarms, ...(await app.get(OutboxRelay).stats()) };
      case 'close':
        await app.close();
        return {};
    }
  };
  process.on('message', ({ id, command }: { id: number; command: ProcessCommand }) => {
    void run(command).then(
      (result) => {
        tell({ id, result });
        if (command.do === 'close') process.disconnect();
      },
      (error: unknown) => tell({ id, error: String(error) }),
    );
  });
  process.on('disconnect', () => process.exit(0));
  tell({ ready: true });
}

void main(JSON.parse(process.argv[2] ?? '{}') as ProcessTask);
