/** The options of `dedupe stats`: one table for the parser and the help, and what was typed -> the validated type. */
import { usageError } from "../errors.ts";
import type { StatsOptions } from "../options.ts";
import { applyTyped, checkOutput, jobsDefaults, outputDefaults, type TypedOption } from "./common.ts";
import { index, jobs, output, reworded, snapshots, type OptionSpec } from "./shared-specs.ts";
import { given } from "./values.ts";

const own: OptionSpec<StatsOptions>[] = [
  snapshots,
  {
    flags: "--if-deleted <set>",
    help: "say what deleting these would free: a snapshot, a range such as daily.20..daily.29, or a pattern; may be given again",
    group: "Selection:",
    apply: ({ ifDeleted }, value) => ifDeleted.push(given(value, "--if-deleted")),
  },
  jobs,
  index,
  {
    flags: "--csv",
    help: "one line of comma-separated values for each snapshot on stdout",
    group: "Output:",
    apply: (options) => (options.csv = true),
  },
];

export const statsOptionSpecs: readonly OptionSpec<StatsOptions>[] = [
  ...own,
  ...reworded(output, { verbose: { help: "one line a directory read" } }),
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
