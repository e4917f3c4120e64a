import { describeDeadLetterStore } from './dead-letter-store.contract';

describe('DeadLetterStore on PostgreSQL', () => {
  describeDeadLetterStore('postgres');
});
