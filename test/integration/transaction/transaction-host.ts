import { ClsPluginTransactional, TransactionHost } from '@nestjs-cls/transactional';
import { TransactionalAdapterTypeOrm } from '@nestjs-cls/transactional-adapter-typeorm';
import { Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { ClsModule } from 'nestjs-cls';
import { type DataSource } from 'typeorm';

const DATA_SOURCE = 'the data source';

@Module({})
class DataSourceModule {}

export interface StartedHost {
  readonly host: TransactionHost<TransactionalAdapterTypeOrm>;
  close(): Promise<void>;
}

/** An application with `@nestjs-cls/transactional` on a data source. */
export async function startTransactionHost(dataSource: DataSource): Promise<StartedHost> {
  const dataSourceModule = {
    module: DataSourceModule,
    providers: [{ provide: DATA_SOURCE, useValue: dataSource }],
    exports: [DATA_SOURCE],
  };
  const plugin = new ClsPluginTransactional({
    imports: [dataSourceModule],
    adapter: new TransactionalAdapterTypeOrm({ dataSourceToken: DATA_SOURCE }),
  });
  const application = await Test.createTestingModule({
    imports: [ClsModule.forRoot({ plugins: [plugin] })],
  }).compile();
  await application.init();
  const host = application.get<StartedHost['host']>(TransactionHost, { strict: false });
  return { host, close: () => application.close() };
}
