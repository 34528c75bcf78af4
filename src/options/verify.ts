/** The options of `dedupe verify` as typed -> the validated type. */
import { resolve } from "node:path";
import { DedupeError, usageError } from "../errors.ts";
import type { VerifyOptions } from "../options.ts";
import { applyTyped, checkOutput, jobsDefaults, outputDefaults, type TypedOption } from "./common.ts";
import { checkTarget } from "./rsnapshot.ts";
import { verifyOptionSpecs } from "./verify-specs.ts";

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
    checkOutside(options.logFile, "--log-file", root);
    checkOutside(options.certificate, "--certificate", root);
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

/** What is compared must not change meanwhile. By name only: symlinks may hide more. */
function checkOutside(path: string | undefined, option: string, root: string | undefined): void {
  if (path === undefined || root === undefined) return;
  const outer = resolve(root);
  if (`${resolve(path)}/`.startsWith(outer === "/" ? "//" : `${outer}/`))
    throw usageError(`${option} ${path} lies inside ${root}, which is to be read as it is`);
}
