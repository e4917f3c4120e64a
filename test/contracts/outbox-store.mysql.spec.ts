import { describeOutboxStore } from './outbox-store.contract';

describe('OutboxStore on MariaDB', () => {
  describeOutboxStore('mysql');
});
