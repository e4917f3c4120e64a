import { UnsupportedDatabaseError } from '../../../core/errors';
import type { StatementRunner } from '../../../core/statement-runner';

const MINIMUM = { mysql: [8, 0, 11], mariadb: [10, 6, 0] } as const;

/** Where MySQL and MariaDB differ, by what the server says of itself. */
export class MysqlServer {
  private constructor(
    readonly isMariaDb: boolean,
    readonly version: string,
  ) {}

  /** Asks on the first occasion, on whatever connection is at hand. */
  static detector(): (statements: StatementRunner) => Promise<MysqlServer> {
    let found: MysqlServer | undefined;
    return async (statements) => {
      if (found === undefined) {
        const rows = (await statements.query('SELECT VERSION() AS version')) as { version: string }[];
        const version = rows[0]?.version ?? '';
        found = new MysqlServer(/mariadb/i.test(version), version);
      }
      return found;
    };
  }

  /** MariaDB learned MySQL's name for it in 11.1, and keeps its own. */
  get isolationVariable(): string {
    return this.isMariaDb ? '@@tx_isolation' : '@@transaction_isolation';
  }

  refuseOld(): void {
    // Some clouds say 8.0.mysql_aurora…: a missing last number is not an old one.
    const parts = /(\d+)\.(\d+)(?:\.(\d+))?/.exec(this.version);
    const actual = [Number(parts?.[1] ?? 0), Number(parts?.[2] ?? 0), Number(parts?.[3] ?? 99)];
    const least = this.isMariaDb ? MINIMUM.mariadb : MINIMUM.mysql;
    for (const [index, number] of least.entries()) {
      if ((actual[index] ?? 0) > number) return;
      if ((actual[index] ?? 0) < number) {
        throw new UnsupportedDatabaseError(
          'mysql',
          `nestjs-outbox needs MySQL 8.0.11 or MariaDB 10.6, for SKIP LOCKED and JSON_TABLE; this is ${this.version}.`,
        );
      }
    }
  }
}
