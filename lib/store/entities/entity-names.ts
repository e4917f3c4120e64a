/** The names under which our entities are registered with TypeORM: nobody else's entity is called so. */
export const ENTITY_NAMES = {
  message: 'NestjsOutboxMessage',
  inbox: 'NestjsOutboxInboxMessage',
  key: 'NestjsOutboxKey',
  version: 'NestjsOutboxSchema',
} as const;

export type EntityPart = keyof typeof ENTITY_NAMES;
