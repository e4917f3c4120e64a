import type { BeforeQueryEvent, DataSource, EntitySubscriberInterface } from 'typeorm';

/** A statement as the library sent it. */
export interface SentStatement {
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

/** Writes down what a data source sends, from now on. Whoever is measured must not have one: TypeORM takes more care then. */
export class StatementLog implements EntitySubscriberInterface {
  private readonly statements: SentStatement[] = [];

  constructor(private readonly dataSource: DataSource) {
    dataSource.subscribers.push(this);
  }

  beforeQuery({ query, parameters }: BeforeQueryEvent): void {
    this.statements.push({ sql: query, parameters: (parameters as unknown[] | undefined) ?? [] });
  }

  /** Ends it. @returns the statements so far */
  take(): readonly SentStatement[] {
    this.dataSource.subscribers.splice(this.dataSource.subscribers.indexOf(this), 1);
    return this.statements;
  }
}
