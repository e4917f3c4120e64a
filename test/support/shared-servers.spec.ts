import { connect } from 'amqplib';
import { createConnection } from 'mysql2/promise';
import { Client } from 'pg';
import { createTestDatabase, createVhost } from './shared-servers';

describe('the shared servers', () => {
  it('give a PostgreSQL database to each who asks', async () => {
    const [one, other] = await Promise.all([createTestDatabase('postgres'), createTestDatabase('postgres')]);
    expect(one.url).not.toBe(other.url);
    const client = new Client({ connectionString: one.url });
    await client.connect();
    await client.query('CREATE TABLE it_is_mine (id int)');
    await client.end();
    await Promise.all([one.drop(), other.drop()]);
    const late = new Client({ connectionString: one.url });
    await expect(late.connect()).rejects.toThrow('does not exist');
    await late.end();
  }, 60_000);

  it('give a MariaDB database to each who asks', async () => {
    const database = await createTestDatabase('mysql');
    const connection = await createConnection(database.url);
    await connection.query('CREATE TABLE it_is_mine (id int)');
    await connection.end();
    await database.drop();
    await expect(createConnection(database.url)).rejects.toThrow('Unknown database');
  }, 60_000);

  it('give a virtual host to each who asks', async () => {
    const [one, other] = await Promise.all([createVhost(), createVhost()]);
    expect(one.url).not.toBe(other.url);
    const connection = await connect(one.url);
    const channel = await connection.createChannel();
    await channel.assertQueue('it is mine');
    await connection.close();
  }, 90_000);
});
