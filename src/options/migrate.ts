/** The options of `dedupe migrate`: the table for the parser and the help, and what was typed -> the validated type. */
import { usageError } from "../errors.ts";
import type { MigrateOptions } from "../options.ts";
import {
  applyTyped,
  checkOutside,
  checkOutput,
  checkSizes,
  mergingDefaults,
  outputDefaults,
  runningDefaults,
  type TypedOption,
} from "./common.ts";
import { merging, output, running, selection, type OptionSpec } from "./shared-specs.ts";
import { given, parseCount } from "./values.ts";

const copying: OptionSpec<MigrateOptions>[] = [
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
    help: "read every inode again on both sides, whatever sizes and times say",
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

export const migrateOptionSpecs: readonly OptionSpec<MigrateOptions>[] = [
  ...selection,
  ...merging,
  ...copying,
  ...running,
  ...output,
];

export function migrateOptions(
  typed: readonly TypedOption[],
  source: string,
  target: string,
): MigrateOptions {
  const options = defaults(source, target);
  applyTyped(options, typed, migrateOptionSpecs);
  checkTogether(options);
  return options;
}

function defaults(source: string, target: string): MigrateOptions {
  return {
    command: "migrate",
    source: given(source, "<source>"),
    target: given(target, "<target>"),
    ...mergingDefaults(),
    ...runningDefaults(),
    ...outputDefaults,
    delete: false,
    forceDelete: false,
    maxDelete: undefined,
    checksum: false,
    removeSourceFiles: false,
    xattrs: true,
    strict: false,
  };
}

function checkTogether(options: MigrateOptions): void {
  checkSizes(options);
  checkOutput(options);
  if (options.delete && options.removeSourceFiles)
    throw usageError(
      "--delete and --remove-source-files contradict each other: a run after the move would delete what was moved",
    );
  if (!options.delete && options.forceDelete)
    throw usageError("--force-delete means nothing without --delete");
  if (!options.delete && options.maxDelete !== undefined)
    throw usageError("--max-delete means nothing without --delete");
  // P1
  const why = "the source, which is never written";
  checkOutside(options.logFile, "--log-file", options.source, why);
  checkOutside(options.indexDir, "--index", options.source, why);
}
