import { describeInspection } from './outbox-store-inspect.contract';

describe('What an OutboxStore tells of rows on MariaDB', () => describeInspection('mysql'));
