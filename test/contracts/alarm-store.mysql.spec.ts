import { describeAlarmStore } from './alarm-store.contract';

describe('AlarmStore on MariaDB', () => {
  describeAlarmStore('mysql');
});
