/** The options of `dedupe migrate`: one table for the parser and the help. */
import { usageError } from "../errors.ts";
import type { JobsOptions, MigrateOptions, OutputOptions, RelinkOptions } from "../options.ts";
import { maxJobs } from "./common.ts";
import { given, parseCount, parseRate, parseSize } from "./values.ts";

/** What options of several commands are about. */
export type SharedOptions = Omit<MigrateOptions | RelinkOptions, "command">;

type RunningOptions = Pick<SharedOptions, "dryRun" | "jobs" | "areJobsGiven" | "bwlimitBytes" | "indexDir">;

export type OptionSpec<Options = MigrateOptions> = {
  /** As commander reads and help prints it. */
  flags: string;
  help: string;
  group: "Selection:" | "Merging:" | "Care:" | "Copying:" | "Reading:" | "Running:" | "Output:";
  apply: (options: Options, value: string) => void;
};

export const selection: OptionSpec<SharedOptions>[] = [
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
  {
    flags: "--snapshots <glob>",
    help: "the directories that are snapshots, if they are not recognised",
    group: "Selection:",
    apply: (options, value) => (options.snapshotsGlob = given(value, "--snapshots")),
  },
  {
    flags: "-x, --one-file-system",
    help: "do not cross mount points",
    group: "Selection:",
    apply: (options) => (options.oneFileSystem = true),
  },
];

export const merging: OptionSpec<SharedOptions>[] = [
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

const copying: OptionSpec[] = [
  {
    flags: "--no-xattrs",
    help: "do not copy extended attributes and ACLs",
    group: "Copying:",
    apply: (options) => (options.xattrs = false),
  },
  {
    flags: "--strict",
    help: "exit with 3 if an attribute could not be kept",
    group: "Copying:",
    apply: (options) => (options.strict = true),
  },
  {
    flags: "--checksum",
    help: "read every inode again, whatever its size and times say",
    group: "Copying:",
    apply: (options) => (options.checksum = true),
  },
  {
    flags: "--delete",
    help: "remove from the target what the source no longer has",
    group: "Copying:",
    apply: (options) => (options.delete = true),
  },
  {
    flags: "--force-delete",
    help: "with --delete: even if the source is empty or lost a filesystem since the last run",
    group: "Copying:",
    apply: (options) => (options.forceDelete = true),
  },
  {
    flags: "--max-delete <n>",
    help: "with --delete: remove no more than this many names",
    group: "Copying:",
    apply: (options, value) => (options.maxDelete = parseCount(value, "--max-delete", { min: 0 })),
  },
  {
    flags: "--remove-source-files",
    help: "remove from the source what is durable on the target and was read again there",
    group: "Copying:",
    apply: (options) => (options.removeSourceFiles = true),
  },
];

export const jobs: OptionSpec<JobsOptions> & { group: "Running:" } = {
  flags: "-j, --jobs <n>",
  help: "worker threads, 1 to 64 (default: one a core, or one where little is to be read)",
  group: "Running:",
  apply: (options, value) => {
    options.jobs = parseCount(value, "--jobs", { min: 1, max: maxJobs });
    options.areJobsGiven = true;
  },
};

export const running: OptionSpec<RunningOptions>[] = [
  {
    flags: "-n, --dry-run",
    help: "say what would happen and change nothing",
    group: "Running:",
    apply: (options) => (options.dryRun = true),
  },
  jobs,
  {
    flags: "--bwlimit <rate>",
    help: "read no faster than this, in KiB a second or with a suffix such as 1.5M; 0 is no limit",
    group: "Running:",
    apply: (options, value) => (options.bwlimitBytes = parseRate(value, "--bwlimit")),
  },
  {
    flags: "--index <dir>",
    help: "where the index lives (default: .dedupe/index on the target)",
    group: "Running:",
    apply: (options, value) => (options.indexDir = given(value, "--index")),
  },
];

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

export const migrateOptionSpecs: readonly OptionSpec[] = [
  ...selection,
  ...merging,
  ...copying,
  ...running,
  ...output,
];

function parseMerge(value: string): "all" | "none" {
  if (value !== "all" && value !== "none") throw usageError(`--merge takes 'all' or 'none', not '${value}'`);
  return value;
}
