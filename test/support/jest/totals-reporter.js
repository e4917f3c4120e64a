'use strict';

const { appendFileSync } = require('node:fs');

/**
 * Appends the totals of a run to the file named by TEST_TOTALS_FILE, for whoever adds up several runs. A file that
 * could not be run at all counts as one failure.
 */
class TotalsReporter {
  onRunComplete(_contexts, results) {
    const { numPassedTests: passed, numFailedTests, numRuntimeErrorTestSuites } = results;
    const failed = numFailedTests + numRuntimeErrorTestSuites;
    appendFileSync(process.env.TEST_TOTALS_FILE, `${JSON.stringify({ passed, failed })}\n`);
  }
}

module.exports = TotalsReporter;
