import type { Row } from '../harness/row';
import type { BenchOptions } from '../harness/options';
import { besideNotDue } from './beside-not-due';
import { besideSent } from './beside-sent';
import { besideStuck } from './beside-stuck';
import { consumer } from './consumer';
import { drain100Keys } from './drain-100-keys';
import { drainNoKey } from './drain-no-key';
import { drainOneKey } from './drain-one-key';
import { idle } from './idle';
import { latency400 } from './latency-400';
import { latency50 } from './latency-50';
import { memory } from './memory';
import { serverConsumer } from './server-consumer';
import { serverHotKey } from './server-hot-key';
import { serverTransactions } from './server-transactions';
import { snapshot } from './snapshot';
import { transactionsElsewhere } from './transactions-elsewhere';
import { transactionsEntity } from './transactions-entity';
import { transactionsHotKey } from './transactions-hot-key';
import { transactionsSameProcess } from './transactions-same-process';
import { transactionsUniqueKeys } from './transactions-unique-keys';

/** All rows of the table, in its order. */
export function rowsOf({ payloads }: Pick<BenchOptions, 'payloads'>): Row[] {
  return [
    ...payloads.map(drainNoKey),
    drain100Keys,
    drainOneKey,
    latency50,
    latency400,
    transactionsElsewhere,
    transactionsUniqueKeys,
    transactionsHotKey,
    transactionsSameProcess,
    transactionsEntity,
    consumer,
    serverTransactions,
    serverHotKey,
    serverConsumer,
    besideNotDue,
    besideSent,
    besideStuck,
    idle,
    memory,
    snapshot,
  ];
}
