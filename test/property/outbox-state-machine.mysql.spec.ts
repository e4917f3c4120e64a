import { describeStateMachine } from './outbox-state-machine';

describe('The states of a message on MariaDB', () => {
  describeStateMachine('mysql');
});
