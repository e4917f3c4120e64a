'use strict';

/*
 * Prints the total of all test runs, and before it what passed only at the second try. Takes the file of the totals, and
 * the exit code so far; ends with that, or with 1 where no test has run or one has failed.
 */
const { readFileSync } = require('node:fs');

const [totalsFile, exitCode] = process.argv.slice(2);
const status = Number(exitCode);
const runs = readFileSync(totalsFile, 'utf8').split('\n').filter(Boolean).map(JSON.parse);
const sum = (key) => runs.reduce((total, run) => total + run[key], 0);
const onlyAtSecondTry = runs.flatMap((run) => run.onlyAtSecondTry ?? []);

if (onlyAtSecondTry.length > 0) {
  console.log(`\n==> PASSED ONLY AT THE SECOND TRY: ${onlyAtSecondTry.length} to be mended`);
  for (const name of onlyAtSecondTry) console.log(`  ${name}`);
  console.log();
}
if (status !== 0) console.log(`failed with exit code ${status}`);
if (sum('passed') === 0) console.log('no test has run');
console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
process.exitCode = status !== 0 ? status : sum('passed') > 0 && sum('failed') === 0 ? 0 : 1;
