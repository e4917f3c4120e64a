'use strict';

const { appendFileSync } = require('node:fs');
const { relative } = require('node:path');

/**
 * Appends the totals of a run, and what failed in it, to the file named by TEST_TOTALS_FILE, for whoever adds up several
 * runs. A file that could not be run at all, or left something open, counts as one failure.
 */
class TotalsReporter {
  constructor({ rootDir }) {
    this.rootDir = rootDir;
  }

  onRunComplete(_contexts, results) {
    const { numPassedTests: passed, numFailedTests, numRuntimeErrorTestSuites } = results;
    const failed = numFailedTests + numRuntimeErrorTestSuites;
    const failedFiles = results.testResults
      .filter(({ numFailingTests, testExecError }) => numFailingTests > 0 || testExecError)
      .map((file) => this.failedFile(file));
    appendFileSync(process.env.TEST_TOTALS_FILE, `${JSON.stringify({ passed, failed, failedFiles })}\n`);
  }

  failedFile({ testFilePath, numPassingTests: passed, testExecError, testResults }) {
    const path = relative(this.rootDir, testFilePath);
    const names = testResults.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName);
    if (testExecError) names.push('the file itself');
    return { path, passed, names };
  }
}

module.exports = TotalsReporter;
