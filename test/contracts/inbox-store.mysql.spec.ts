import { describeInboxStore } from './inbox-store.contract';

describe.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
  'InboxStore on MariaDB under %s',
  (isolation) => {
    describeInboxStore('mysql', isolation);
  },
);
