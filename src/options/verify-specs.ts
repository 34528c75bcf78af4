/** The options of `dedupe verify`: one table for the parser and the help. */
import { usageError } from "../errors.ts";
import type { VerifyOptions } from "../options.ts";
import { jobs } from "./migrate-specs.ts";
import { rsnapshotConfSpec } from "./rsnapshot.ts";
import { given, parseRate } from "./values.ts";

export type VerifyOptionSpec = {
  /** As commander reads and help prints it. */
  flags: string;
  help: string;
  group: "Checking a store:" | "Comparing:" | "Running:" | "Output:";
  apply: (options: VerifyOptions, value: string) => void;
};

const checking: VerifyOptionSpec[] = [
  {
    flags: "--quick",
    help: "check names and attributes, but read no content",
    group: "Checking a store:",
    apply: (options) => (options.quick = true),
  },
  {
    flags: "--slice <k/n>",
    help: "read only the k-th of n parts of the store, such as 1/30, or with next/30 the one whose turn it is; all n parts together are the whole",
    group: "Checking a store:",
    apply: (options, value) => (options.slice = parseSlice(value)),
  },
];

const repairing: VerifyOptionSpec[] = [
  {
    flags: "--repair",
    help: "restore what rotted, for all its names, from another copy on the target, or from the source that --against names (nothing is compared then)",
    group: "Checking a store:",
    apply: (options) => (options.repair = true),
  },
];

const comparing: VerifyOptionSpec[] = [
  {
    flags: "--against <source>",
    help: "compare the target with the source it was made from, name by name and byte by byte",
    group: "Comparing:",
    apply: (options, value) => (options.against = given(value, "--against")),
  },
  {
    flags: "--certificate <file>",
    help: "where the certificate of an equal pair goes (default: .dedupe/log on the target)",
    group: "Comparing:",
    apply: (options, value) => (options.certificate = given(value, "--certificate")),
  },
  {
    flags: "--certificate-check <file>",
    help: "read the tree and say whether it still is what the certificate says of source or target",
    group: "Comparing:",
    apply: (options, value) => (options.certificateCheck = given(value, "--certificate-check")),
  },
  {
    flags: "--exclude <pattern>",
    help: "leave out what matches, on both sides, as migrate did",
    group: "Comparing:",
    apply: ({ filters }, value) => filters.push({ type: "exclude", pattern: Buffer.from(value) }),
  },
  {
    flags: "--include <pattern>",
    help: "take what matches, though a later rule leaves it out",
    group: "Comparing:",
    apply: ({ filters }, value) => filters.push({ type: "include", pattern: Buffer.from(value) }),
  },
  {
    flags: "--exclude-from <file>",
    help: "exclude patterns from a file, one a line",
    group: "Comparing:",
    apply: ({ filters }, value) =>
      filters.push({ type: "exclude-from", file: given(value, "--exclude-from") }),
  },
  {
    flags: "--include-from <file>",
    help: "include patterns from a file, one a line",
    group: "Comparing:",
    apply: ({ filters }, value) =>
      filters.push({ type: "include-from", file: given(value, "--include-from") }),
  },
  {
    flags: "-f, --filter <rule>",
    help: "an rsync filter rule, such as '- *.tmp' or '+ /daily.0/'",
    group: "Comparing:",
    apply: ({ filters }, value) => filters.push({ type: "filter", pattern: Buffer.from(value) }),
  },
  {
    flags: "-x, --one-file-system",
    help: "do not look below mount points of the source",
    group: "Comparing:",
    apply: (options) => (options.oneFileSystem = true),
  },
];

const running: VerifyOptionSpec[] = [
  jobs,
  {
    flags: "--bwlimit <rate>",
    help: "read no faster than this, in KiB a second or with a suffix such as 1.5M; 0 is no limit",
    group: "Running:",
    apply: (options, value) => (options.bwlimitBytes = parseRate(value, "--bwlimit")),
  },
  rsnapshotConfSpec,
];

const output: VerifyOptionSpec[] = [
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
    help: "nothing but findings and errors",
    group: "Output:",
    apply: (options) => (options.quiet = true),
  },
  {
    flags: "-v, --verbose",
    help: "one line a directory compared, or an object checked",
    group: "Output:",
    apply: (options) => (options.verbose = true),
  },
  {
    flags: "--log-file <file>",
    help: "append the report to a file, with every finding",
    group: "Output:",
    apply: (options, value) => (options.logFile = given(value, "--log-file")),
  },
];

export const verifyOptionSpecs: readonly VerifyOptionSpec[] = [
  ...checking,
  ...repairing,
  ...comparing,
  ...running,
  ...output,
];

const MOST_SLICES = 10_000;

function parseSlice(text: string): { number: number | "next"; of: number } {
  const match = /^(\d{1,5}|next)\/(\d{1,5})$/.exec(text);
  const number = match?.[1] === "next" ? "next" : Number(match?.[1]);
  const of = Number(match?.[2]);
  if (match === null || of < 1 || of > MOST_SLICES || (number !== "next" && (number < 1 || number > of)))
    throw usageError(
      `--slice takes a part and how many there are, such as 1/30 or next/30 (at most ${MOST_SLICES}), not '${text}'`,
    );
  return { number, of };
}
