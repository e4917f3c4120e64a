import { describeInspection } from './outbox-store-inspect.contract';

describe('What an OutboxStore tells of rows on PostgreSQL', () => describeInspection('postgres'));
