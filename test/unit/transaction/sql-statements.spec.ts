import {
  boundaryOf,
  briefly,
  commitsImplicitly,
  isWrite,
  isolationSetBy,
} from '../../../lib/transaction/sql-statements';

describe('boundaryOf', () => {
  it.each([
    ['START TRANSACTION', { kind: 'begin' }],
    ['begin;', { kind: 'begin' }],
    ['BEGIN ISOLATION LEVEL SERIALIZABLE', { kind: 'begin' }],
    ['BEGIN NOT ATOMIC SELECT 1; END', null],
    ['COMMIT', { kind: 'commit' }],
    [' commit work ;', { kind: 'commit' }],
    ['COMMIT AND CHAIN', { kind: 'commit' }],
    ['END', { kind: 'commit' }],
    [`PREPARE TRANSACTION 'x'`, { kind: 'commit' }],
    [`PREPARE statement FROM 'SELECT 1'`, null],
    ['ROLLBACK', { kind: 'rollback' }],
    ['ABORT', { kind: 'rollback' }],
    ['rollback;', { kind: 'rollback' }],
    ['SAVEPOINT typeorm_1', { kind: 'savepoint', name: 'typeorm_1' }],
    ['savepoint "Mine";', { kind: 'savepoint', name: 'Mine' }],
    ['RELEASE SAVEPOINT typeorm_1', { kind: 'release', name: 'typeorm_1' }],
    ['RELEASE `x`', { kind: 'release', name: 'x' }],
    ['ROLLBACK TO SAVEPOINT typeorm_2', { kind: 'rollbackTo', name: 'typeorm_2' }],
    ['ROLLBACK TO x', { kind: 'rollbackTo', name: 'x' }],
    ['ROLLBACK WORK TO SAVEPOINT x', { kind: 'rollbackTo', name: 'x' }],
    ['SELECT 1', null],
    ['START SLAVE', null],
    ['COMMITTEE', null],
    [`INSERT INTO t VALUES ('COMMIT')`, null],
  ])('%s', (sql, boundary) => {
    expect(boundaryOf(sql)).toEqual(boundary);
  });
});

describe('isolationSetBy', () => {
  it.each([
    ['SET TRANSACTION ISOLATION LEVEL SERIALIZABLE', 'SERIALIZABLE'],
    ['set transaction  isolation level read   committed', 'READ COMMITTED'],
    ['SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE', null],
    ['SELECT 1', null],
  ])('%s', (sql, level) => {
    expect(isolationSetBy(sql)).toBe(level);
  });
});

describe('isWrite', () => {
  it.each([
    ['INSERT INTO t VALUES (1)', true],
    ['  update t set a = 1', true],
    ['-- why\nDELETE FROM t', true],
    ['/* a */ /* b */ MERGE INTO t', true],
    ['# mysql\nREPLACE INTO t VALUES (1)', true],
    ['(INSERT INTO t SELECT 1)', true],
    ['TRUNCATE t', true],
    ['WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x', true],
    ['WITH x AS (SELECT 1) UPDATE t SET a = 1', true],
    ['WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x', true],
    [`WITH x AS (SELECT 'DELETE FROM t') SELECT * FROM x`, false],
    ['WITH x AS (SELECT 1) SELECT * FROM x FOR UPDATE', false],
    ['WITH x AS (SELECT updated_at, "update" FROM t) SELECT * FROM x', false],
    ['SELECT * FROM t FOR UPDATE', false],
    ['SELECT deleted FROM inserts', false],
    ['UPDATED', false],
    ['/* DELETE FROM t */ SELECT 1', false],
    ['START TRANSACTION', false],
    ['', false],
  ])('%s: %s', (sql, write) => {
    expect(isWrite(sql)).toBe(write);
  });
});

describe('commitsImplicitly', () => {
  it.each([
    ['TRUNCATE TABLE t', true],
    ['create table t (id int)', true],
    ['/* x */ ALTER TABLE t ADD a int', true],
    ['LOCK TABLES t WRITE', true],
    ['CREATE TEMPORARY TABLE t (id int)', false],
    ['CREATE OR REPLACE TEMPORARY TABLE t (id int)', false],
    ['DROP TEMPORARY TABLE t', false],
    ['DROP PREPARE statement', false],
    ['INSERT INTO t VALUES (1)', false],
  ])('%s: %s', (sql, commits) => {
    expect(commitsImplicitly(sql)).toBe(commits);
  });
});

it('names a statement in one line, and cut', () => {
  expect(briefly('  SELECT\n  1 ')).toBe('SELECT 1');
  expect(briefly('x'.repeat(400))).toBe(`${'x'.repeat(300)}…`);
});
