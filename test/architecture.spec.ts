import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Import,
  REPOSITORY,
  findCycles,
  loadedBy,
  readSources,
  repositoryFiles,
} from './support/architecture/source-files';

const NEST = ['@nestjs/', 'rxjs', 'reflect-metadata'];
const RABBITMQ = ['@golevelup/', 'amqplib', 'amqp-connection-manager'];

interface Room {
  /** Which other rooms it may import. */
  rooms: readonly string[];
  /** Which packages, besides Node's own modules; a name that ends in a slash stands for the whole scope. */
  packages: readonly string[];
  /** Packages of which it may import types only. */
  types?: readonly string[];
}

/** Who may import whom: the design's rules on the tree. A room below a room is a room of its own. */
const ROOMS: Record<string, Room> = {
  core: { rooms: [], packages: [] },
  decorators: { rooms: ['core'], packages: NEST, types: ['typeorm'] },
  outbox: {
    rooms: ['core'],
    packages: [...NEST, 'class-validator', 'class-transformer', 'uuidv7'],
    types: ['typeorm'],
  },
  relay: { rooms: ['core'], packages: NEST },
  'dead-letter': { rooms: ['core'], packages: NEST },
  transaction: { rooms: ['core'], packages: [...NEST, 'typeorm'] },
  store: { rooms: ['core'], packages: [...NEST, 'typeorm'] },
  'transports/rabbitmq': { rooms: ['core'], packages: [...NEST, ...RABBITMQ] },
  'transports/in-process': { rooms: ['core'], packages: [...NEST, ...RABBITMQ, 'smqp'] },
  idempotency: { rooms: ['core'], packages: NEST },
  'idempotency/rabbitmq': { rooms: ['core', 'idempotency'], packages: [...NEST, ...RABBITMQ] },
  testing: { rooms: ['core'], packages: [...NEST, 'typeorm'] },
};

/** Files at the root of lib/, and by which files each may be imported. */
const ROOT_FILES: Record<string, readonly string[]> = {
  'index.ts': [],
  'outbox.module.ts': ['index.ts'],
  'outbox.assembly.ts': ['outbox.module.ts'],
  'outbox.module-definition.ts': ['index.ts', 'outbox.module.ts'],
  'outbox.options-resolution.ts': ['outbox.module.ts'],
  'outbox.options.ts': [
    'index.ts',
    'outbox.options-resolution.ts',
    'outbox.module.ts',
    'outbox.assembly.ts',
    'outbox.module-definition.ts',
  ],
};

/** What these see is not restricted: the composition root wires everything together, the index exports it. */
const SEES_EVERYTHING = ['outbox.assembly.ts', 'outbox.module.ts', 'index.ts'];

const LINES_MAX = 300;

const sources = readSources('lib');

function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS)
    .filter((room) => path === room || path.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function allows(names: readonly string[], packageName: string): boolean {
  return names.some((name) => (name.endsWith('/') ? packageName.startsWith(name) : packageName === name));
}

/** Why an import is a breach, if it is one. */
function breachOf({ from, to, isPackage, kind }: Import): string | undefined {
  if (isPackage && to.startsWith('node:')) return undefined;
  const room = roomOf(from);
  if (isPackage) {
    if (!room) return undefined;
    const { packages, types = [] } = ROOMS[room]!;
    const allowed = allows(packages, to) || (kind === 'types' && allows(types, to));
    return allowed ? undefined : `${from} imports ${to}: the room ${room} may not`;
  }
  const importers = ROOT_FILES[`${to || 'index'}.ts`];
  if (importers)
    return importers.includes(from) ? undefined : `${from} imports ${to}.ts, which is not for it`;
  const target = roomOf(to);
  if (!target) return `${from} imports ${to}, which lies in no room that the table knows`;
  if (!room || room === target || ROOMS[room]!.rooms.includes(target)) return undefined;
  return `${from} imports ${to}: the room ${room} may not import ${target}`;
}

describe('the rules of the tree', () => {
  it('finds the library', () => {
    expect(sources.map(({ path }) => path)).toContain('core/message-status.ts');
  });

  it('gives every file a room', () => {
    const homeless = sources.filter(({ path }) => !roomOf(path) && !(path in ROOT_FILES));
    expect(homeless.map(({ path }) => path)).toEqual([]);
  });

  it('lets each room import what the table says and nothing else', () => {
    const imports = sources.flatMap((file) => (SEES_EVERYTHING.includes(file.path) ? [] : file.imports));
    expect(imports.map(breachOf).filter(Boolean)).toEqual([]);
  });

  it('keeps the root files to their importers', () => {
    const imports = sources.flatMap((file) => file.imports).filter(({ isPackage }) => !isPackage);
    const breaches = imports.filter(({ from, to }) => {
      const importers = ROOT_FILES[`${to || 'index'}.ts`];
      return importers && !importers.includes(from);
    });
    expect(breaches.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  it('has no import cycle', () => {
    expect(findCycles(sources)).toEqual([]);
  });

  it(`has no file of more than ${LINES_MAX} lines`, () => {
    const long = sources.filter(({ lines }) => lines > LINES_MAX);
    expect(long.map(({ path, lines }) => `${path}: ${lines}`)).toEqual([]);
  });

  it('writes to no console', () => {
    const writers = sources.filter(({ globals }) => globals.has('console'));
    expect(writers.map(({ path }) => path)).toEqual([]);
  });
});

describe('the rules of the package', () => {
  interface Manifest {
    dependencies: Record<string, string>;
    peerDependencies: Record<string, string>;
    peerDependenciesMeta: Record<string, { optional: boolean }>;
  }
  const manifest = JSON.parse(readText('package.json')) as Manifest;

  it.each(['index', 'testing/index', 'store/migrations/index'])(
    'loads no optional peer when %s is loaded',
    (entry) => {
      const imports = loadedBy(entry, sources).flatMap((file) => file.imports);
      const needed = imports.filter(
        ({ to, kind }) => kind === 'value' && to in manifest.peerDependenciesMeta,
      );
      expect(needed.map(({ from, to }) => `${from} needs ${to}`)).toEqual([]);
    },
  );

  it('declares every package that it imports', () => {
    // Whoever imports nestjs-outbox/testing has it; named as a peer it keeps npm from resolving NestJS 12.
    const present = { '@nestjs/testing': '*' };
    const declared = { ...manifest.dependencies, ...manifest.peerDependencies, ...present };
    const imports = sources.flatMap((file) => file.imports).filter(({ isPackage }) => isPackage);
    const undeclared = imports.filter(({ to }) => !to.startsWith('node:') && !(to in declared));
    expect(undeclared.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  it('names no registry in the lock file', () => {
    expect(readText('package-lock.json')).not.toContain('"resolved": "http');
  });

  it('names no path of the machine it was written on', () => {
    const machinePath = new RegExp(`(?:^|[\\s"'\`(=:<])/(?:${['work', 'root', 'home'].join('|')})/\\w`, 'm');
    const offenders = repositoryFiles().filter((path) => machinePath.test(readText(path)));
    expect(offenders).toEqual([]);
  });
});

function readText(path: string): string {
  return readFileSync(join(REPOSITORY, path), 'utf8');
}
