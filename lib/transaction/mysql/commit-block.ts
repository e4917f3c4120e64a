import { type DirectStatement } from '../direct/direct-connection';
import { COMMIT } from '../direct/direct-transaction';
import { type MysqlClient, type MysqlHeader } from './client';
import { IN_TRANSACTION, NO_TRANSACTION } from './status';

/** The server is MariaDB, by what it said of itself: MySQL has no blocks outside of procedures. */
export function takesBlocks({ _handshakePacket: handshake }: MysqlClient): boolean {
  return /mariadb/i.test(handshake?.serverVersion ?? '');
}

/**
 * Without a transaction each statement would be stored by itself: somebody may have ended it with a statement that commits
 * implicitly, sent past TypeORM.
 */
const GUARD = `IF @@in_transaction = 0 THEN
  SIGNAL SQLSTATE '${NO_TRANSACTION}' SET MESSAGE_TEXT = 'the transaction is no longer open';
END IF`;

/**
 * The last statements of a transaction and its COMMIT as one statement of MariaDB's, a compound one. It ends with the first
 * statement in it that fails, and then the transaction is still open, to be rolled back.
 */
export class CommitBlock {
  readonly sql: string;
  readonly parameters: unknown[];
  /** Set where each of its statements has a name: then it is the same text each time. */
  readonly name: string | undefined;
  /** Of each statement, whether it answers rows. Those of all come first, and then one header for the block. */
  private readonly answersRows: readonly boolean[];

  constructor(statements: readonly DirectStatement[]) {
    const texts = statements.map(({ sql }) => sql);
    this.sql = `BEGIN NOT ATOMIC ${[GUARD, ...texts, COMMIT].join(';\n')};\nEND`;
    this.name = statements.every(({ name }) => name !== undefined) ? 'block' : undefined;
    this.parameters = statements.flatMap(({ parameters }) => parameters ?? []);
    this.answersRows = texts.map((sql) => /^\s*SELECT\b/i.test(sql));
  }

  /** What each statement would have answered by itself, and COMMIT; but that the server counts the rows of all together. */
  answersOf(answer: unknown): { readonly each: readonly unknown[]; readonly commit: MysqlHeader } {
    const parts = this.answersRows.includes(true) ? (answer as unknown[]) : [answer];
    const commit = parts.at(-1) as MysqlHeader;
    let rows = 0;
    const each = this.answersRows.map((hasRows) => (hasRows ? parts[rows++] : withinTransaction(commit)));
    return { each, commit };
  }

  /** The same where the answer was lost, and it is known to have been committed. */
  lostAnswers(header: MysqlHeader): ReturnType<CommitBlock['answersOf']> {
    return {
      each: this.answersRows.map((hasRows) => (hasRows ? [] : withinTransaction(header))),
      commit: header,
    };
  }
}

/** The block's header tells of the time after COMMIT. */
function withinTransaction(header: MysqlHeader): MysqlHeader {
  return { ...header, serverStatus: (header.serverStatus ?? 0) | IN_TRANSACTION };
}
