// The build: src/ and store/ become few files, since a thread that loads a hundred modules starts far later (ADR 14).
import { defineConfig } from "rolldown";

export default defineConfig({
  input: {
    cli: "src/cli.ts",
    "migrate-worker": "src/work/worker.ts",
    "survey-worker": "src/work/survey-worker.ts",
    "relink-worker": "src/relink/worker.ts",
    "compact-worker": "src/compact/worker.ts",
    "verify-worker": "src/verify/worker.ts",
    "stats-worker": "src/stats/worker.ts",
    linux: "src/sys/linux.ts",
    // For tests only; not in the package.
    "faults/run": "test/support/faults/run.ts",
    "faults/faulty-sys": "test/support/faults/faulty-sys.ts",
  },
  platform: "node",
  // Packages stay where npm put them: some are native, and each keeps its licence.
  external: (id) => !id.startsWith(".") && !id.startsWith("/"),
  // src/entry-points.ts and src/cli.ts count on a flat folder.
  output: { dir: "dist", entryFileNames: "[name].js", chunkFileNames: "[name].js" },
});
