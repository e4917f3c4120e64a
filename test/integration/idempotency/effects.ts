import { type DataSource } from 'typeorm';

/** A business table: one row for each effect that was committed. */
export async function createEffects(dataSource: DataSource): Promise<void> {
  await dataSource.query(
    'CREATE TABLE IF NOT EXISTS effect (message_id varchar(255) NOT NULL, note varchar(255) NOT NULL)',
  );
}

/** Writes one, in the ambient transaction. */
export async function addEffect(dataSource: DataSource, messageId: string, note = ''): Promise<void> {
  const quoted = [messageId, note].map((text) => `'${text.replaceAll("'", "''")}'`).join(', ');
  await dataSource.manager.query(`INSERT INTO effect (message_id, note) VALUES (${quoted})`);
}

export async function effectsOf(dataSource: DataSource, messageId: string): Promise<string[]> {
  const rows: { message_id: string; note: string }[] = await dataSource.query(
    'SELECT message_id, note FROM effect',
  );
  return rows.filter((row) => row.message_id === messageId).map((row) => row.note);
}

export async function inboxKeys(dataSource: DataSource, consumer: string): Promise<string[]> {
  // Bytes on MySQL, text on PostgreSQL.
  const rows: { consumer: string | Buffer; message_key: string | Buffer }[] = await dataSource.query(
    'SELECT consumer, message_key FROM inbox_message',
  );
  return rows.filter((row) => row.consumer.toString() === consumer).map((row) => row.message_key.toString());
}
