import { EntitySchema, type EntitySchemaOptions } from 'typeorm';

import { bareTableName, type DialectName, dialectOf, type TableLocation } from '../table-names';
import { COLUMN_KITS } from './columns';
import { ENTITY_NAMES, type EntityPart } from './entity-names';
import type {
  InboxMessageEntity,
  OutboxKeyEntity,
  OutboxMessageEntity,
  OutboxSchemaEntity,
} from './entity-types';

/**
 * The outbox's tables as TypeORM entities, for those who want to read them with repositories:
 * `entities: [...outboxEntities('postgres')]`, then `dataSource.getRepository<OutboxMessageEntity>('NestjsOutboxMessage')`.
 * Read only: writes belong to the outbox. The tables are made by `outboxMigrations()` alone, so TypeORM's
 * `synchronize` and `migration:generate` leave them as they are.
 *
 * @param type the data source's type: `postgres`, `mysql` or `mariadb`
 * @param tables where they are; the same as the module's option `tables`
 */
export function outboxEntities(
  type: 'postgres' | 'mysql' | 'mariadb',
  tables: TableLocation = {},
): EntitySchema[] {
  const dialect = dialectOf(type);
  const { uuid, text, exactText, bigint, integer, bytes, json, time } = COLUMN_KITS[dialect];
  const nullable = true;
  const message = schemaOf<OutboxMessageEntity>('message', dialect, tables, {
    id: uuid('id', { primary: true }),
    seq: bigint('seq'),
    transport: text('transport'),
    destination: text('destination'),
    type: text('type'),
    key: text('key', { nullable }),
    keyHash: bigint('key_hash', { nullable }),
    tenant: text('tenant', { nullable }),
    source: text('source', { nullable }),
    payload: bytes('payload', { select: false }),
    contentType: text('content_type'),
    contentEncoding: text('content_encoding', { nullable }),
    schemaVersion: integer('schema_version', { nullable }),
    headers: json('headers'),
    status: text('status'),
    attempts: integer('attempts'),
    claims: integer('claims'),
    nextAttemptAt: time('next_attempt_at'),
    availableAt: time('available_at'),
    expiresAt: time('expires_at', { nullable }),
    claimToken: text('claim_token', { nullable }),
    claimedBy: text('claimed_by', { nullable }),
    lastError: text('last_error', { nullable }),
    createdAt: time('created_at'),
    sentAt: time('sent_at', { nullable }),
    consumedAt: time('consumed_at', { nullable }),
    deadAt: time('dead_at', { nullable }),
    alarmDueAt: time('alarm_due_at', { nullable }),
    finishedAt: time('finished_at', { nullable }),
  });
  const inbox = schemaOf<InboxMessageEntity>('inbox', dialect, tables, {
    consumer: exactText('consumer', { primary: true }),
    messageKey: exactText('message_key', { primary: true }),
    processedAt: time('processed_at'),
  });
  const version = schemaOf<OutboxSchemaEntity>('version', dialect, tables, {
    version: integer('version', { primary: true }),
    compatibleFrom: integer('compatible_from'),
  });
  const key = schemaOf<OutboxKeyEntity>('key', dialect, tables, {
    bucket: integer('bucket', { primary: true }),
  });
  return dialect === 'mysql' ? [message, inbox, version, key] : [message, inbox, version];
}

function schemaOf<Entity>(
  part: EntityPart,
  dialect: DialectName,
  { schema, prefix }: TableLocation,
  columns: EntitySchemaOptions<Entity>['columns'],
): EntitySchema {
  const where = schema === undefined ? {} : dialect === 'postgres' ? { schema } : { database: schema };
  return new EntitySchema<Entity>({
    name: ENTITY_NAMES[part],
    tableName: bareTableName(part, prefix),
    ...where,
    synchronize: false,
    columns,
  }) as EntitySchema;
}
