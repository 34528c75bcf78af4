/** The options of `dedupe stats`: one table for the parser and the help, and what was typed -> the validated type. */
import { usageError } from "../errors.ts";
import type { StatsOptions } from "../options.ts";
import {
  applyTyped,
  checkOutput,
  jobsDefaults,
  longName,
  outputDefaults,
  type TypedOption,
} from "./common.ts";
import { jobs, output, type OptionSpec } from "./migrate-specs.ts";
import { given } from "./values.ts";

const own: OptionSpec<StatsOptions>[] = [
  {
    flags: "--snapshots <glob>",
    help: "the directories that are snapshots, if they are not recognised",
    group: "Selection:",
    apply: (options, value) => (options.snapshotsGlob = given(value, "--snapshots")),
  },
  {
    flags: "--if-deleted <set>",
    help: "say what deleting these would free: a snapshot, a range such as daily.20..daily.29, or a pattern; may be given again",
    group: "Selection:",
    apply: ({ ifDeleted }, value) => ifDeleted.push(given(value, "--if-deleted")),
  },
  jobs,
  {
    flags: "--index <dir>",
    help: "where the index lives (default: .dedupe/index on the target)",
    group: "Running:",
    apply: (options, value) => (options.indexDir = given(value, "--index")),
  },
  {
    flags: "--csv",
    help: "one line of comma-separated values for each snapshot on stdout",
    group: "Output:",
    apply: (options) => (options.csv = true),
  },
];

export const statsOptionSpecs: readonly OptionSpec<StatsOptions>[] = [
  ...own,
  ...output.map((spec) =>
    longName(spec.flags) === "verbose" ? { ...spec, help: "one line a directory read" } : spec,
  ),
];

export function statsOptions(typed: readonly TypedOption[], target: string): StatsOptions {
  const options = defaults(target);
  applyTyped(options, typed, statsOptionSpecs);
  checkOutput(options);
  if (options.json && options.csv) throw usageError("--json and --csv contradict each other");
  return options;
}

function defaults(target: string): StatsOptions {
  return {
    command: "stats",
    target: given(target, "<target>"),
    csv: false,
    snapshotsGlob: undefined,
    ifDeleted: [],
    indexDir: undefined,
    ...jobsDefaults(),
    ...outputDefaults,
  };
}
