import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import * as ts from 'typescript';

/** The repository's root. */
export const REPOSITORY = join(__dirname, '..', '..', '..');

const GENERATED = new Set(['node_modules', 'dist', 'coverage', '.git', '.data', '.work']);

/** `types` vanish when compiled; `lazy` is a require() or import() that runs when it is reached. */
export type ImportKind = 'value' | 'types' | 'lazy';

export interface Import {
  readonly from: string;
  /** A file below `lib/`, or the name of a package. */
  readonly to: string;
  readonly isPackage: boolean;
  readonly kind: ImportKind;
}

export interface SourceFile {
  /** Relative to the directory that was read, with slashes. */
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** Names of globals whose members it uses, such as `console`. */
  readonly globals: ReadonlySet<string>;
}

/** Paths of all files of the repository that people write, relative to its root. */
export function repositoryFiles(directory = REPOSITORY): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (GENERATED.has(entry.name)) return [];
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return repositoryFiles(path);
    return entry.isFile() ? [relative(REPOSITORY, path).split(sep).join('/')] : [];
  });
}

/** Every TypeScript file of a directory of the repository, with what it imports. */
export function readSources(directory: string): SourceFile[] {
  const prefix = `${directory}/`;
  return repositoryFiles()
    .filter((path) => path.startsWith(prefix) && path.endsWith('.ts'))
    .map((path) => parse(path.slice(prefix.length), readFileSync(join(REPOSITORY, path), 'utf8')));
}

function parse(path: string, text: string): SourceFile {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  const imports: Import[] = [];
  const globals = new Set<string>();
  const add = (specifier: ts.Node | undefined, kind: ImportKind) => {
    if (!specifier || !ts.isStringLiteralLike(specifier)) return;
    const isPackage = !specifier.text.startsWith('.');
    const to = isPackage ? packageOf(specifier.text) : resolve(path, specifier.text);
    imports.push({ from: path, to, isPackage, kind });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, kindOfImport(node));
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, kindOfExport(node));
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node.argument.literal, 'types');
    else if (ts.isCallExpression(node) && isRequireOrImport(node)) add(node.arguments[0], 'lazy');
    else if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      globals.add(node.expression.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return { path, lines: text.split('\n').length - 1, imports, globals };
}

function kindOfImport({ importClause }: ts.ImportDeclaration): ImportKind {
  if (!importClause) return 'value';
  if (importClause.phaseModifier === ts.SyntaxKind.TypeKeyword) return 'types';
  const { name, namedBindings } = importClause;
  if (name || !namedBindings || !ts.isNamedImports(namedBindings)) return 'value';
  return namedBindings.elements.every(({ isTypeOnly }) => isTypeOnly) ? 'types' : 'value';
}

function kindOfExport({ isTypeOnly, exportClause }: ts.ExportDeclaration): ImportKind {
  if (isTypeOnly) return 'types';
  if (!exportClause || !ts.isNamedExports(exportClause)) return 'value';
  return exportClause.elements.every((element) => element.isTypeOnly) ? 'types' : 'value';
}

function isRequireOrImport({ expression }: ts.CallExpression): boolean {
  return (
    expression.kind === ts.SyntaxKind.ImportKeyword ||
    (ts.isIdentifier(expression) && expression.text === 'require') ||
    (ts.isPropertyAccessExpression(expression) && expression.getText() === 'require.resolve')
  );
}

function packageOf(specifier: string): string {
  if (specifier.startsWith('node:')) return specifier;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** `./a` may be a file or a directory with an index; the repository has no file beside a directory of its name. */
function resolve(from: string, specifier: string): string {
  return posix.normalize(posix.join(dirname(from), specifier)).replace(/\.[jt]s$/, '');
}

/** The cycles among files, each as the path that closes it. */
export function findCycles(files: readonly SourceFile[]): string[] {
  const byName = new Map(files.map((file) => [file.path.replace(/\.ts$/, ''), file]));
  const lookUp = (name: string) => byName.get(name) ?? byName.get(`${name}/index`);
  const done = new Set<SourceFile>();
  const cycles: string[] = [];
  const walk = (file: SourceFile, trail: readonly SourceFile[]): void => {
    if (trail.includes(file)) {
      const cycle = [...trail.slice(trail.indexOf(file)), file];
      cycles.push(cycle.map(({ path }) => path).join(' → '));
      return;
    }
    if (done.has(file)) return;
    for (const { to, isPackage } of file.imports) {
      const next = isPackage ? undefined : lookUp(to);
      if (next) walk(next, [...trail, file]);
    }
    done.add(file);
  };
  for (const file of files) walk(file, []);
  return cycles;
}

/** The files that are loaded as soon as one of them is: what follows from it by imports that are not types or lazy. */
export function loadedBy(entry: string, files: readonly SourceFile[]): SourceFile[] {
  const byName = new Map(files.map((file) => [file.path.replace(/\.ts$/, ''), file]));
  const reached = new Set<SourceFile>();
  const walk = (name: string): void => {
    const file = byName.get(name) ?? byName.get(`${name}/index`);
    if (!file || reached.has(file)) return;
    reached.add(file);
    for (const { to, isPackage, kind } of file.imports) {
      if (!isPackage && kind === 'value') walk(to);
    }
  };
  walk(entry);
  return [...reached];
}
