// The build: src/ and store/ become few files, since a thread that loads many starts far later (ADR 14 and 15).
import { defineConfig } from "rolldown";

const shared = {
  platform: "node",
  // Packages stay where npm put them: some are native, and each keeps its licence.
  external: (id) => !id.startsWith(".") && !id.startsWith("/"),
};
// src/entry-points.ts and src/cli.ts count on a flat folder.
const output = { dir: "dist", entryFileNames: "[name].js", chunkFileNames: "[name].js" };

/** Alone in its file, with all that it needs of src/ and store/. */
const single = (name, path) => ({
  ...shared,
  input: { [name]: path },
  output: { ...output, codeSplitting: false },
});

export default defineConfig([
  single("faults/faulty-sys", "test/support/faults/faulty-sys.ts"),
  single("linux", "src/sys/linux.ts"),
  single("migrate-worker", "src/work/worker.ts"),
  single("survey-worker", "src/work/survey-worker.ts"),
  single("relink-worker", "src/relink/worker.ts"),
  single("compact-worker", "src/compact/worker.ts"),
  single("verify-worker", "src/verify/worker.ts"),
  single("stats-worker", "src/stats/worker.ts"),
  // One after the other, and this one last: bin/ takes dist/cli.js as the sign that the build is whole.
  {
    ...shared,
    input: {
      cli: "src/cli.ts",
      // For tests only; not in the package.
      "faults/run": "test/support/faults/run.ts",
    },
    output,
  },
]);
