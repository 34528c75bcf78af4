/** Options that several commands have, for their tables. */
import { usageError } from "../errors.ts";
import type {
  CompactOptions,
  JobsOptions,
  MigrateOptions,
  OutputOptions,
  RelinkOptions,
} from "../options.ts";
import { longName, maxJobs } from "./common.ts";
import { given, parseCount, parseDuration, parseRate, parseSize } from "./values.ts";

/** One option of a command's table, which is for the parser and for the help. */
export type OptionSpec<Options> = {
  /** As commander reads and help prints it. */
  flags: string;
  help: string;
  group:
    | "Selection:"
    | "Merging:"
    | "Copying:"
    | "Care:"
    | "Checking a store:"
    | "Comparing:"
    | "Running:"
    | "Output:";
  apply: (options: Options, value: string) => void;
};

type MergingOptions = Omit<MigrateOptions | RelinkOptions, "command">;
type RunningOptions = Pick<MergingOptions | CompactOptions, "dryRun" | "bwlimitBytes" | "indexDir"> &
  JobsOptions;

/** The same option in other words, where a command means another thing by it; by its long name. */
export function reworded<Options>(
  specs: readonly OptionSpec<Options>[],
  changes: Readonly<Record<string, Partial<OptionSpec<Options>>>>,
): OptionSpec<Options>[] {
  return specs.map((spec) => ({ ...spec, ...changes[longName(spec.flags)] }));
}

export const filters: OptionSpec<Pick<MergingOptions, "filters">>[] = [
  {
    flags: "--exclude <pattern>",
    help: "leave out what matches, as rsync does; the first rule that matches decides",
    group: "Selection:",
    apply: ({ filters }, value) => filters.push({ type: "exclude", pattern: Buffer.from(value) }),
  },
  {
    flags: "--include <pattern>",
    help: "take what matches, though a later rule leaves it out",
    group: "Selection:",
    apply: ({ filters }, value) => filters.push({ type: "include", pattern: Buffer.from(value) }),
  },
  {
    flags: "--exclude-from <file>",
    help: "exclude patterns from a file, one a line",
    group: "Selection:",
    apply: ({ filters }, value) =>
      filters.push({ type: "exclude-from", file: given(value, "--exclude-from") }),
  },
  {
    flags: "--include-from <file>",
    help: "include patterns from a file, one a line",
    group: "Selection:",
    apply: ({ filters }, value) =>
      filters.push({ type: "include-from", file: given(value, "--include-from") }),
  },
  {
    flags: "-f, --filter <rule>",
    help: "an rsync filter rule, such as '- *.tmp' or '+ /daily.0/'",
    group: "Selection:",
    apply: ({ filters }, value) => filters.push({ type: "filter", pattern: Buffer.from(value) }),
  },
];

export const snapshots: OptionSpec<Pick<MergingOptions, "snapshotsGlob">> = {
  flags: "--snapshots <glob>",
  help: "the directories that are snapshots, if they are not recognised",
  group: "Selection:",
  apply: (options, value) => (options.snapshotsGlob = given(value, "--snapshots")),
};

export const oneFileSystem: OptionSpec<Pick<MergingOptions, "oneFileSystem">> = {
  flags: "-x, --one-file-system",
  help: "do not cross mount points",
  group: "Selection:",
  apply: (options) => (options.oneFileSystem = true),
};

export const selection: OptionSpec<MergingOptions>[] = [...filters, snapshots, oneFileSystem];

export const merging: OptionSpec<MergingOptions>[] = [
  {
    flags: "--merge <all|none>",
    help: "make one inode of every identical pair (all, the default), or keep only the source's own hard links (none)",
    group: "Merging:",
    apply: (options, value) => (options.merge = parseMerge(value)),
  },
  {
    flags: "--ignore-time",
    help: "merge though the modification times differ",
    group: "Merging:",
    apply: ({ compared }) => (compared.time = false),
  },
  {
    flags: "--ignore-mode",
    help: "merge though the modes differ",
    group: "Merging:",
    apply: ({ compared }) => (compared.mode = false),
  },
  {
    flags: "--ignore-owner",
    help: "merge though the owners differ",
    group: "Merging:",
    apply: ({ compared }) => (compared.owner = false),
  },
  {
    flags: "--ignore-xattrs",
    help: "merge though the extended attributes or ACLs differ",
    group: "Merging:",
    apply: ({ compared }) => (compared.xattrs = false),
  },
  {
    flags: "--min-size <size>",
    help: "merge only files of at least this size, such as 4K or 1.5M (default: 1)",
    group: "Merging:",
    apply: (options, value) => (options.minSizeBytes = parseSize(value, "--min-size")),
  },
  {
    flags: "--max-size <size>",
    help: "merge only files of at most this size",
    group: "Merging:",
    apply: (options, value) => (options.maxSizeBytes = parseSize(value, "--max-size")),
  },
];

export const jobs: OptionSpec<JobsOptions> = {
  flags: "-j, --jobs <n>",
  help: "worker threads, 1 to 64 (default: one a core, or one where little is to be read)",
  group: "Running:",
  apply: (options, value) => {
    options.jobs = parseCount(value, "--jobs", { min: 1, max: maxJobs });
    options.areJobsGiven = true;
  },
};

export const bwlimit: OptionSpec<Pick<RunningOptions, "bwlimitBytes">> = {
  flags: "--bwlimit <rate>",
  help: "read no faster than this, in KiB a second or with a suffix such as 1.5M; 0 is no limit",
  group: "Running:",
  apply: (options, value) => (options.bwlimitBytes = parseRate(value, "--bwlimit")),
};

export const index: OptionSpec<Pick<RunningOptions, "indexDir">> = {
  flags: "--index <dir>",
  help: "where the index lives (default: .dedupe/index on the target)",
  group: "Running:",
  apply: (options, value) => (options.indexDir = given(value, "--index")),
};

export const running: OptionSpec<RunningOptions>[] = [
  {
    flags: "-n, --dry-run",
    help: "say what would happen and change nothing",
    group: "Running:",
    apply: (options) => (options.dryRun = true),
  },
  jobs,
  bwlimit,
  index,
];

export const timeLimit: OptionSpec<Pick<RelinkOptions | CompactOptions, "timeLimitMs">> = {
  flags: "--time-limit <time>",
  help: "stop at a safe point after this time, such as 90s, 30m or 2h; the next run goes on",
  group: "Running:",
  apply: (options, value) => (options.timeLimitMs = parseDuration(value, "--time-limit")),
};

export const output: OptionSpec<OutputOptions>[] = [
  {
    flags: "--json",
    help: "events as JSON Lines on stdout, a summary last",
    group: "Output:",
    apply: (options) => (options.json = true),
  },
  {
    flags: "--progress",
    help: "show progress on stderr with --json and -q too",
    group: "Output:",
    apply: (options) => (options.progress = "on"),
  },
  {
    flags: "--no-progress",
    help: "no bar on a terminal, no line a minute elsewhere",
    group: "Output:",
    apply: (options) => (options.progress = "off"),
  },
  {
    flags: "-q, --quiet",
    help: "nothing but errors",
    group: "Output:",
    apply: (options) => (options.quiet = true),
  },
  {
    flags: "-v, --verbose",
    help: "one line a name",
    group: "Output:",
    apply: (options) => (options.verbose = true),
  },
  {
    flags: "--log-file <file>",
    help: "append the report to a file, with every failure",
    group: "Output:",
    apply: (options, value) => (options.logFile = given(value, "--log-file")),
  },
];

function parseMerge(value: string): "all" | "none" {
  if (value !== "all" && value !== "none") throw usageError(`--merge takes 'all' or 'none', not '${value}'`);
  return value;
}
