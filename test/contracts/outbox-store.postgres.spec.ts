import { describeOutboxStore } from './outbox-store.contract';

describe('OutboxStore on PostgreSQL', () => {
  describeOutboxStore('postgres');
});
