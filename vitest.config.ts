import { configDefaults, defineConfig } from "vitest/config";

const long = process.env["DEDUPE_TESTS_LONG"] === "1";

// `npm test` builds dist first (pretest): black-box tests run the built program.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, "test/bench/**", ...(long ? [] : ["test/**/*.long.test.ts"])],
    // Forks, not threads: tests change umask, uid and working directory, and load native code.
    pool: "forks",
    // Much of a test is waiting for disks and for the program's own threads.
    maxWorkers: 3,
    // The JSON file is what .ci/run counts from.
    reporters:
      process.env["CI"] === "true" ? ["default", ["json", { outputFile: ".cache/tests.json" }]] : ["default"],
    // Against what hangs: a busy machine takes ten times as long as an idle one. A long sweep sets its own limit.
    testTimeout: 180_000,
    hookTimeout: 240_000,
  },
});
