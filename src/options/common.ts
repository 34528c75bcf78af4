/** What the commands' options have in common: defaults, and how what was typed is applied. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { usageError } from "../errors.ts";
import type { JobsOptions, MigrateOptions, OutputOptions } from "../options.ts";

export const maxJobs = 64;

/** One option as typed; `value` is empty for a switch. Order and repetitions are kept: filter rules need both. */
export type TypedOption = { name: string; value: string };

type Applicable<Options> = { flags: string; apply: (options: Options, value: string) => void };

export const outputDefaults: Readonly<OutputOptions> = {
  json: false,
  progress: "auto",
  quiet: false,
  verbose: false,
  logFile: undefined,
};

/** Fresh, since options are applied to it. */
export function mergingDefaults() {
  return {
    filters: [],
    compared: { time: true, mode: true, owner: true, xattrs: true },
    merge: "all",
    minSizeBytes: 1,
    maxSizeBytes: Number.MAX_SAFE_INTEGER,
    snapshotsGlob: undefined,
    oneFileSystem: false,
  } satisfies Partial<MigrateOptions>;
}

export function runningDefaults() {
  return { dryRun: false, indexDir: undefined, ...jobsDefaults(), bwlimitBytes: undefined };
}

/** One a core. */
export function jobsDefaults(): JobsOptions {
  return { jobs: Math.min(maxJobs, availableParallelism()), areJobsGiven: false };
}

/** The last of a repeated option wins. @throws DedupeError */
export function applyTyped<Options>(
  options: Options,
  typed: readonly TypedOption[],
  specs: readonly Applicable<Options>[],
): void {
  for (const { name, value } of typed) {
    const spec = specs.find(({ flags }) => longName(flags) === name);
    if (spec === undefined) throw new Error(`no such option in the table: --${name}`);
    spec.apply(options, value);
  }
}

/** Without its dashes: "no-xattrs" for --no-xattrs. */
export function longName(flags: string): string {
  return /--([\w-]+)/.exec(flags)?.[1] ?? "";
}

export function checkOutput({ quiet, verbose }: OutputOptions): void {
  if (quiet && verbose) throw usageError("--quiet and --verbose contradict each other");
}

export function checkSizes(options: Pick<MigrateOptions, "minSizeBytes" | "maxSizeBytes">): void {
  if (options.minSizeBytes > options.maxSizeBytes) throw usageError("--min-size is larger than --max-size");
}

/** What is only read must not change meanwhile. By name only: what symlinks hide, the preflight has to find. */
export function checkOutside(
  path: string | undefined,
  option: string,
  root: string | undefined,
  why: string,
): void {
  if (path === undefined || root === undefined) return;
  const outer = resolve(root);
  if (`${resolve(path)}/`.startsWith(outer === "/" ? "//" : `${outer}/`))
    throw usageError(`${option} ${path} lies inside ${why}`);
}
