import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getRepositoryToken, InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import {
  InjectOutbox,
  InjectOutboxRelay,
  Outbox,
  OutboxModule,
  OutboxRelay,
  TransactionalEvent,
} from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';
import { outboxMigrations } from 'nestjs-outbox/migrations';
import { Column, Entity, PrimaryColumn, Repository } from 'typeorm';

import { createTestDatabase, type TestDatabase } from '../../support/shared-servers';

@Entity()
class Invoice {
  @PrimaryColumn({ type: 'varchar', length: 60 }) id!: string;
  @Column({ type: 'int' }) cents!: number;
}

@Injectable()
class Billing {
  constructor(
    @InjectRepository(Invoice, 'billing') readonly invoices: Repository<Invoice>,
    @InjectRepository(Invoice) readonly elsewhere: Repository<Invoice>,
    @InjectOutbox('billing') readonly outbox: Outbox,
    @InjectOutboxRelay('billing') readonly relay: OutboxRelay,
  ) {}

  @TransactionalEvent('invoice.issued', { dataSource: 'billing' })
  async issue(id: string, fail = false): Promise<Invoice> {
    // The other data source's repository must not be drawn into this transaction.
    await this.elsewhere.save({ id, cents: 1 });
    const invoice = await this.invoices.save({ id, cents: 2 });
    if (fail) throw new Error('no paper');
    return invoice;
  }
}

describe('an application with two data sources', () => {
  let postgres: TestDatabase;
  let mysql: TestDatabase;
  let app: INestApplicationContext;
  let billing: Billing;

  beforeAll(async () => {
    [postgres, mysql] = await Promise.all([createTestDatabase('postgres'), createTestDatabase('mysql')]);
    const common = {
      entities: [Invoice],
      synchronize: true,
      migrations: outboxMigrations(),
      migrationsRun: true,
    };
    @Module({
      imports: [
        TypeOrmModule.forRoot({ ...common, type: 'postgres', url: postgres.url }),
        TypeOrmModule.forRoot({ ...common, name: 'billing', type: 'mysql', url: mysql.url }),
        TypeOrmModule.forFeature([Invoice]),
        TypeOrmModule.forFeature([Invoice], 'billing'),
        OutboxModule.forRoot({ transport: inProcess(), escapedWrites: 'ignore' }),
        OutboxModule.forRootAsync({ dataSource: 'billing', useFactory: () => ({ transport: inProcess() }) }),
      ],
      providers: [Billing],
    })
    class App {}
    app = await NestFactory.createApplicationContext(App, { logger: false });
    billing = app.get(Billing);
  });

  afterAll(async () => {
    await app?.close();
    await Promise.all([postgres, mysql].map((database) => database?.drop()));
  });

  it('keeps an outbox for each, and never mixes them', async () => {
    await billing.issue('i1');
    await billing.relay.flush();
    const rows = (repository: Repository<Invoice>): Promise<{ type: string; status: string }[]> =>
      repository.query('SELECT type, status FROM outbox_message');
    expect(await rows(billing.invoices)).toEqual([{ type: 'invoice.issued', status: 'sent' }]);
    expect(await rows(billing.elsewhere)).toEqual([]);
  });

  it('rolls one back and leaves the other alone', async () => {
    await expect(billing.issue('i2', true)).rejects.toThrow('no paper');
    expect(await billing.invoices.existsBy({ id: 'i2' })).toBe(false);
    expect(await billing.elsewhere.existsBy({ id: 'i2' })).toBe(true);
  });

  it('injects the default one by class, and the named one by name', () => {
    expect(app.get(Outbox)).not.toBe(billing.outbox);
    expect(app.get(OutboxRelay)).not.toBe(billing.relay);
    expect(app.get(getRepositoryToken(Invoice, 'billing'))).toBe(billing.invoices);
  });

  it('refuses a publish with the other data source’s manager', async () => {
    await billing.elsewhere.manager.transaction(async (manager) => {
      await expect(billing.outbox.publish('invoice.issued', {}, { manager })).rejects.toMatchObject({
        code: 'OUTBOX_TRANSACTION_PROPAGATION',
      });
    });
  });
});
