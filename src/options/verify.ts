/** The options of `dedupe verify`: the table for the parser and the help, and what was typed -> the validated type. */
import { DedupeError, usageError } from "../errors.ts";
import type { VerifyOptions } from "../options.ts";
import {
  applyTyped,
  checkOutput,
  checkOutside,
  jobsDefaults,
  outputDefaults,
  type TypedOption,
} from "./common.ts";
import { checkTarget, rsnapshotConfSpec } from "./rsnapshot.ts";
import { bwlimit, filters, jobs, oneFileSystem, output, reworded, type OptionSpec } from "./shared-specs.ts";
import { given } from "./values.ts";

const checking: OptionSpec<VerifyOptions>[] = [
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

const repairing: OptionSpec<VerifyOptions>[] = [
  {
    flags: "--repair",
    help: "restore what rotted, for all its names, from another copy on the target, or from the source that --against names (nothing is compared then)",
    group: "Checking a store:",
    apply: (options) => (options.repair = true),
  },
];

const comparing: OptionSpec<VerifyOptions>[] = [
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
  ...reworded(filters, {
    exclude: { help: "leave out what matches, on both sides, as migrate did" },
  }).map((spec) => ({ ...spec, group: "Comparing:" as const })),
  { ...oneFileSystem, help: "do not look below mount points of the source", group: "Comparing:" },
];

export const verifyOptionSpecs: readonly OptionSpec<VerifyOptions>[] = [
  ...checking,
  ...repairing,
  ...comparing,
  ...[jobs, bwlimit, rsnapshotConfSpec],
  ...reworded(output, {
    quiet: { help: "nothing but findings and errors" },
    verbose: { help: "one line a directory compared, or an object checked" },
    "log-file": { help: "append the report to a file, with every finding" },
  }),
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

const hint = "Try 'dedupe verify --help'.";

export function verifyOptions(typed: readonly TypedOption[], target: string | undefined): VerifyOptions {
  try {
    const options = defaults(target);
    applyTyped(options, typed, verifyOptionSpecs);
    checkTarget(options);
    checkTogether(options);
    return options;
  } catch (error) {
    // The parsers of single values are migrate's too.
    throw error instanceof DedupeError ? usageError(error.message, hint) : error;
  }
}

function defaults(target: string | undefined): VerifyOptions {
  return {
    command: "verify",
    target,
    rsnapshotConf: undefined,
    against: undefined,
    repair: false,
    quick: false,
    slice: undefined,
    certificate: undefined,
    certificateCheck: undefined,
    filters: [],
    oneFileSystem: false,
    ...jobsDefaults(),
    bwlimitBytes: undefined,
    ...outputDefaults,
  };
}

function checkTogether(options: VerifyOptions): void {
  const { against, certificateCheck, quick, slice } = options;
  checkOutput(options);
  if (quick && slice !== undefined)
    throw usageError(
      "--quick and --slice contradict each other: a slice is a part of what --quick leaves out",
    );
  if (against !== undefined && certificateCheck !== undefined)
    throw usageError("--against and --certificate-check contradict each other");
  const isStoreCheck = against === undefined && certificateCheck === undefined;
  if (!isStoreCheck && !options.repair && (quick || slice !== undefined))
    throw usageError("--quick and --slice belong to a check of the store alone");
  if (against === undefined && options.certificate !== undefined)
    throw usageError("--certificate means nothing without --against");
  if (against === undefined && (options.filters.length > 0 || options.oneFileSystem))
    throw usageError("filters and --one-file-system mean nothing without --against");
  if (options.repair) checkRepair(options);
  for (const root of [against, against === undefined ? undefined : options.target]) {
    const why = `${String(root)}, which is to be read as it is`;
    checkOutside(options.logFile, "--log-file", root, why);
    checkOutside(options.certificate, "--certificate", root, why);
  }
}

/** With it, --against says where contents may come from, and nothing is compared. */
function checkRepair({ quick, certificate, certificateCheck, filters, oneFileSystem }: VerifyOptions): void {
  if (quick) throw usageError("--repair and --quick contradict each other: damage is found by reading");
  if (certificateCheck !== undefined || certificate !== undefined)
    throw usageError("--repair makes and checks no certificate: run --against without it afterwards");
  if (filters.length > 0 || oneFileSystem)
    throw usageError("--repair looks at the whole store: filters and --one-file-system mean nothing with it");
}
