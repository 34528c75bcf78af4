/** The options of `dedupe migrate` as typed -> the validated type. */
import { resolve } from "node:path";
import { usageError } from "../errors.ts";
import type { MigrateOptions } from "../options.ts";
import {
  applyTyped,
  checkOutput,
  checkSizes,
  mergingDefaults,
  outputDefaults,
  runningDefaults,
  type TypedOption,
} from "./common.ts";
import { migrateOptionSpecs } from "./migrate-specs.ts";
import { given } from "./values.ts";

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
