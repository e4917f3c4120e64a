'use strict';

/*
 * Runs an npm script that runs jest. Where a few files fail, those files are run once more, alone and one after the
 * other: a race in a spec must not refuse a change. What passed only then is kept in the totals, and told at the end.
 */
const { spawnSync } = require('node:child_process');
const { readFileSync, writeFileSync } = require('node:fs');

/** More of them are no coincidence. */
const FILES_MAX = 3;
/** These search for races: what they find once is found. */
const SEARCHES = /^test\/(property|crash)\//;

const TOTALS_FILE = process.env.TEST_TOTALS_FILE;
const [script] = process.argv.slice(2);

const totals = () => readFileSync(TOTALS_FILE, 'utf8').split('\n').filter(Boolean).map(JSON.parse);
const namesIn = ({ failedFiles }) =>
  failedFiles.flatMap(({ path, names }) => names.map((name) => `${path}: ${name}`));

/** @returns what the run added to the totals, if it came that far, and its exit code. */
function run(...args) {
  const before = totals().length;
  const { status, error } = spawnSync('npm', ['run', script, ...args], { stdio: 'inherit' });
  if (error) throw error;
  return { total: totals()[before], status: status ?? 1 };
}

function main() {
  const first = run();
  const paths = first.total?.failedFiles.map(({ path }) => path) ?? [];
  const mayTryAgain =
    paths.length > 0 && paths.length <= FILES_MAX && !paths.some((path) => SEARCHES.test(path));
  if (first.status === 0 || !mayTryAgain) return first.status;

  console.log(`\n==> second try: ${paths.join(' ')}`);
  const second = run('--', '--runInBand', ...paths);
  if (second.total === undefined) return first.status;
  const stillFailing = namesIn(second.total);
  // The second run of these files counts instead of the first.
  const counted = {
    passed: first.total.passed - first.total.failedFiles.reduce((sum, { passed }) => sum + passed, 0),
    failed: 0,
    onlyAtSecondTry: namesIn(first.total)
      .filter((name) => !stillFailing.includes(name))
      .map((name) => `npm run ${script}: ${name}`),
  };
  const others = totals().slice(0, -2);
  writeFileSync(
    TOTALS_FILE,
    [...others, counted, second.total].map((run) => `${JSON.stringify(run)}\n`).join(''),
  );
  return second.status;
}

process.exitCode = main();
