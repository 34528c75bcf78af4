/** The options of `dedupe relink`: the table for the parser and the help, and what was typed -> the validated type. */
import { availableParallelism } from "node:os";
import { usageError } from "../errors.ts";
import type { RelinkOptions } from "../options.ts";
import type { TypedOption } from "./migrate.ts";
import { longName, maxJobs, merging, output, running, selection, type OptionSpec } from "./migrate-specs.ts";
import { given, parseDuration } from "./values.ts";

const own: OptionSpec<RelinkOptions>[] = [
  {
    flags: "--undo",
    help: "put back the attributes that --ignore-time and the like took from names in earlier runs",
    group: "Running:",
    apply: (options) => (options.undo = true),
  },
  {
    flags: "--full",
    help: "read every file, also those that cannot have an equal",
    group: "Running:",
    apply: (options) => (options.full = true),
  },
  {
    flags: "--time-limit <time>",
    help: "stop at a safe point after this time, such as 90s, 30m or 2h; the next run goes on",
    group: "Running:",
    apply: (options, value) => (options.timeLimitMs = parseDuration(value, "--time-limit")),
  },
];

export const relinkOptionSpecs: readonly OptionSpec<RelinkOptions>[] = [
  ...selection,
  ...merging.filter(({ flags }) => longName(flags) !== "merge"),
  ...running,
  ...own,
  ...output,
];

export function relinkOptions(typed: readonly TypedOption[], root: string): RelinkOptions {
  const options: RelinkOptions = {
    command: "relink",
    root: given(root, "<root>"),
    dryRun: false,
    filters: [],
    compared: { time: true, mode: true, owner: true, xattrs: true },
    merge: "all",
    minSizeBytes: 1,
    maxSizeBytes: Number.MAX_SAFE_INTEGER,
    snapshotsGlob: undefined,
    oneFileSystem: false,
    full: false,
    undo: false,
    indexDir: undefined,
    jobs: Math.min(maxJobs, availableParallelism()),
    bwlimitBytes: undefined,
    timeLimitMs: undefined,
    json: false,
    progress: "auto",
    quiet: false,
    verbose: false,
    logFile: undefined,
  };
  for (const { name, value } of typed) {
    const spec = relinkOptionSpecs.find(({ flags }) => longName(flags) === name);
    if (spec === undefined) throw new Error(`no such option in the table: --${name}`);
    spec.apply(options, value);
  }
  if (options.minSizeBytes > options.maxSizeBytes) throw usageError("--min-size is larger than --max-size");
  if (options.undo && !undoable(typed)) {
    throw usageError("--undo puts back all that was discarded: it takes no options of selection or merging");
  }
  if (options.quiet && options.verbose) throw usageError("--quiet and --verbose contradict each other");
  return options;
}

/** Only how it runs and what it prints may be chosen. */
function undoable(typed: readonly TypedOption[]): boolean {
  const others = new Set([...selection, ...merging].map(({ flags }) => longName(flags)));
  return typed.every(({ name }) => !others.has(name) && name !== "full" && name !== "bwlimit");
}
