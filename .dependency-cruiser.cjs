// Who may import whom (docs/design.md, "Shape of the code"). Each rule carries its reason.

/** Files under `from` import, of this project, only themselves and `allowed`. */
const only = (name, from, allowed, comment) => ({
  name,
  comment,
  severity: "error",
  from: { path: from },
  to: { path: "^(src|store|bin|test)/", pathNot: [from, ...allowed] },
});

/** As `only`, for the further files of `typesOnly` whose types may be named, and nothing else. */
const typesAtMost = (name, from, typesOnly, comment) => ({
  name,
  comment,
  severity: "error",
  from: { path: from },
  to: { path: typesOnly, dependencyTypesNot: ["type-only"] },
});

/** The packages matched by `packages` have one home in the program. */
const npmHome = (name, packages, home, comment) => ({
  name,
  comment,
  severity: "error",
  from: { path: "^(src|store|bin)/", pathNot: home },
  to: { path: `node_modules/(${packages})(/|$)` },
});

/** The modules of Node matched by `modules` have one home; naming their types is free. */
const coreHome = (name, modules, home, comment) => ({
  name,
  comment,
  severity: "error",
  from: { path: "^(src|store)/", pathNot: home },
  to: { dependencyTypes: ["core"], dependencyTypesNot: ["type-only"], path: `^(node:)?(${modules})$` },
});

const sys = "^src/sys/";
const tree = "^src/tree/";
const relink = "^src/relink/";
const repair = "^src/repair/";
const stats = "^src/stats/";
const compact = "^src/compact/";
const verify = "^src/verify/";
const inodeSet = "^src/verify/inode-set\\.ts$";
const frontDoor = "^store/store\\.ts$";
const events = "^src/report/events\\.ts$";
const options = "^src/options\\.ts$";
const parsing = "^src/options(\\.ts$|/)";
const errors = "^src/errors\\.ts$";
const exitCodes = "^src/exit-codes\\.ts$";
const cli = "^src/cli(\\.ts$|/)";
const entryPoints = "^src/entry-points\\.ts$";

module.exports = {
  forbidden: [
    only("sys-is-the-floor", sys, [], "system calls know nobody"),
    only("store-knows-only-sys", "^store/", [sys], "the store never learns of commands or terminals (ADR 1)"),
    only("tree-knows-only-sys", tree, [sys, options], "trees do not know stores"),
    only(
      "work-knows-tree-and-store",
      "^src/work/",
      [sys, tree, frontDoor, options, events, entryPoints],
      "lower layers return, only commands report; of events, workers know the counters",
    ),
    only(
      "relink-knows-work-tree-and-store",
      relink,
      [sys, tree, "^src/work/", inodeSet, frontDoor, options, events, entryPoints],
      "as work, which it builds on; work does not know it",
    ),
    only(
      "repair-knows-relink-and-below",
      repair,
      [sys, tree, "^src/work/", relink, frontDoor, options],
      "it replaces names as relink does, and proves nothing: verify does not know it, nor it verify",
    ),
    only(
      "stats-knows-work-tree-and-store",
      stats,
      [
        sys,
        tree,
        "^src/work/",
        "^src/relink/(sorter|record-file)\\.ts$",
        frontDoor,
        options,
        events,
        entryPoints,
      ],
      "as relink, whose scratch files it shares",
    ),
    only(
      "compact-builds-on-relink",
      compact,
      [sys, tree, "^src/work/", relink, inodeSet, frontDoor, options, events],
      "what is new is merged as a relink merges it; relink does not know who else does so (ADR 12)",
    ),
    only(
      "verify-is-a-second-opinion",
      verify,
      [sys, "^src/tree/filter", "^store/hash/", entryPoints],
      "what proves the writer right must not share its mistakes (ADR 9)",
    ),
    only("report-is-a-leaf", "^src/report/", [], "reporters receive events, they call nothing"),
    only(
      "commands-are-stories",
      "^src/commands/",
      [
        ...[sys, tree, "^src/work/", relink, repair, stats, compact, verify, entryPoints],
        ...[frontDoor, events, options, errors, exitCodes],
      ],
      "a command joins the layers below it and speaks to its reporter in events",
    ),
    only(
      "options-know-nobody",
      parsing,
      [errors, exitCodes],
      "what was typed has its types before anything runs",
    ),
    only(
      "errors-know-their-exit-code",
      errors,
      [exitCodes],
      "an error can be thrown from any layer above work",
    ),
    only(
      "cli-starts-commands",
      cli,
      ["^src/commands/", "^src/report/", parsing, errors, exitCodes],
      "the composition root reaches what lies deeper through a command",
    ),
    typesAtMost("options-lend-only-types", "^src/(tree|work)/", options, "raw flags die in options.ts"),
    {
      name: "store-by-its-front-door",
      comment: "store/store.ts is the store's whole interface",
      severity: "error",
      from: { pathNot: "^(store|test|src/verify)/" },
      to: { path: "^store/", pathNot: frontDoor },
    },
    {
      name: "program-does-not-know-its-tests",
      comment: "what is shipped runs without test/",
      severity: "error",
      from: { path: "^(src|store|bin)/" },
      to: { path: "^test/" },
    },
    npmHome("koffi-only-in-sys", "koffi", sys, "one door to the kernel (ADR 2)"),
    npmHome(
      "lmdb-only-in-index",
      "lmdb",
      "^store/index/",
      "the index can be replaced without the store noticing (ADR 3)",
    ),
    npmHome(
      "digests-only-in-hash",
      "blake3-wasm|@napi-rs/blake-hash",
      "^store/hash/",
      "one place decides which BLAKE3 runs",
    ),
    npmHome("commander-only-in-cli", "commander", cli, "the command line is parsed once, at the edge"),
    npmHome("p-queue-only-in-pools", "p-queue", "^src/(work|relink)/", "concurrency has one home"),
    npmHome("terminal-only-in-report", "cli-progress|pretty-bytes", "^src/report/", "only reporters draw"),
    coreHome("no-child-processes", "child_process", sys, "one process, whose calls all pass through Sys"),
    // --log-file is the reporter's own output and no part of source or target.
    coreHome(
      "fs-only-in-sys",
      "fs|fs/promises",
      "^src/(sys/|report/log-file\\.ts$)",
      "tests can fail and count every call that passes through Sys",
    ),
    coreHome(
      "threads-only-in-work",
      "worker_threads",
      "^src/((work|relink|stats|compact|verify)/|entry-points\\.ts$)",
      "concurrency has one home",
    ),
    {
      name: "no-circular",
      comment: "two files that need each other are one file, or hide a third",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "nothing-unresolvable",
      comment: "an import that leads nowhere is checked by no other rule",
      severity: "error",
      from: { path: "^(src|store)/" },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
    doNotFollow: { path: "(^|/)(node_modules|dist)/" },
  },
};
