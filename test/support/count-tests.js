// Prints "N passed, N failed" from vitest's JSON report, and fails when a test failed or was left out: in CI
// nothing may skip.
import { readFileSync } from "node:fs";

const report = JSON.parse(readFileSync(process.argv[2], "utf8"));
const left = report.numPendingTests + report.numTodoTests;
// A file that cannot be imported has no tests to count, yet it failed.
const failed = report.numFailedTests || (report.success ? 0 : Math.max(1, report.numFailedTestSuites));

console.log(`${report.numPassedTests} passed, ${failed} failed${left > 0 ? `, ${left} skipped` : ""}`);
process.exitCode = report.success && left === 0 && report.numPassedTests > 0 ? 0 : 1;
