import { describeDeadLetterStore } from './dead-letter-store.contract';

describe('DeadLetterStore on MariaDB', () => {
  describeDeadLetterStore('mysql');
});
