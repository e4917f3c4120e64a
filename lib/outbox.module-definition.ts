import { ConfigurableModuleBuilder } from '@nestjs/common';

import { DEFAULT_DATA_SOURCE } from './core/tokens';
import type { OutboxModuleOptions } from './outbox.options';

/** What must be known before the options are there, because injection tokens hang on it. */
export interface OutboxModuleExtras {
  /** The data source's name, as in `@nestjs/typeorm`. @default 'default' */
  dataSource?: string;
  /** Whether other modules see the providers without importing the module again. @default true */
  isGlobal?: boolean;
}

export const OUTBOX_EXTRAS_DEFAULTS = { dataSource: DEFAULT_DATA_SOURCE, isGlobal: true } as const;

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<OutboxModuleOptions>({ moduleName: 'Outbox' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createOutboxOptions')
    .setExtras<OutboxModuleExtras>({ ...OUTBOX_EXTRAS_DEFAULTS }, (definition) => definition)
    .build();
