import { describeAlarmStore } from './alarm-store.contract';

describe('AlarmStore on PostgreSQL', () => {
  describeAlarmStore('postgres');
});
