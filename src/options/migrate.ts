/** The options of `dedupe migrate` as typed -> the validated type. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { usageError } from "../errors.ts";
import type { MigrateOptions } from "../options.ts";
import { longName, maxJobs, migrateOptionSpecs } from "./migrate-specs.ts";
import { given } from "./values.ts";

/** One option as typed; `value` is empty for a switch. Order and repetitions are kept: filter rules need both. */
export type TypedOption = { name: string; value: string };

/** `name` is the long name without its dashes, "no-xattrs" for --no-xattrs. The last of a repeated option wins. */
export function migrateOptions(
  typed: readonly TypedOption[],
  source: string,
  target: string,
): MigrateOptions {
  const options = defaults(source, target);
  for (const { name, value } of typed) {
    const spec = migrateOptionSpecs.find(({ flags }) => longName(flags) === name);
    if (spec === undefined) throw new Error(`no such option in the table: --${name}`);
    spec.apply(options, value);
  }
  checkTogether(options);
  return options;
}

function defaults(source: string, target: string): MigrateOptions {
  return {
    command: "migrate",
    source: given(source, "<source>"),
    target: given(target, "<target>"),
    dryRun: false,
    filters: [],
    compared: { time: true, mode: true, owner: true, xattrs: true },
    merge: "all",
    minSizeBytes: 1,
    maxSizeBytes: Number.MAX_SAFE_INTEGER,
    snapshotsGlob: undefined,
    delete: false,
    forceDelete: false,
    maxDelete: undefined,
    checksum: false,
    removeSourceFiles: false,
    oneFileSystem: false,
    xattrs: true,
    indexDir: undefined,
    jobs: Math.min(maxJobs, availableParallelism()),
    bwlimitBytes: undefined,
    strict: false,
    json: false,
    progress: "auto",
    quiet: false,
    verbose: false,
    logFile: undefined,
  };
}

function checkTogether(options: MigrateOptions): void {
  if (options.minSizeBytes > options.maxSizeBytes) throw usageError("--min-size is larger than --max-size");
  if (options.quiet && options.verbose) throw usageError("--quiet and --verbose contradict each other");
  if (options.delete && options.removeSourceFiles)
    throw usageError(
      "--delete and --remove-source-files contradict each other: a run after the move would delete what was moved",
    );
  if (!options.delete && options.forceDelete)
    throw usageError("--force-delete means nothing without --delete");
  if (!options.delete && options.maxDelete !== undefined)
    throw usageError("--max-delete means nothing without --delete");
  checkOutsideSource(options.logFile, "--log-file", options.source);
  checkOutsideSource(options.indexDir, "--index", options.source);
}

/** P1. By name only: what symlinks hide, the preflight has to find. */
function checkOutsideSource(path: string | undefined, option: string, source: string): void {
  if (path === undefined) return;
  const root = resolve(source);
  if (`${resolve(path)}/`.startsWith(root === "/" ? "//" : `${root}/`)) {
    throw usageError(`${option} ${path} lies inside the source, which is never written`);
  }
}
