import type { MigrateOptions } from "../options.ts";
import type { Kernel } from "../sys/files.ts";
import { usedSpace } from "../tree/identity.ts";
import { hasMountsBelow } from "../tree/reach.ts";
import type { Root } from "./preflight.ts";

/** Of so much one thread makes less than the start of another costs. */
const FEW_INODES = 1000;
const FEW_BYTES = 64 * 2 ** 20;

/** How many threads copy `source`: as many as were asked for, but one where its whole filesystem holds next to nothing. */
export function jobsFor(
  kernel: Kernel,
  source: Root,
  { jobs, areJobsGiven }: Pick<MigrateOptions, "jobs" | "areJobsGiven">,
): number {
  return !areJobsGiven && holdsLittle(kernel, source) ? 1 : jobs;
}

function holdsLittle(kernel: Kernel, source: Root): boolean {
  const { bytes, inodes, hasInodes } = usedSpace(kernel.sys, source.fd, kernel.sys.allocate(256));
  return hasInodes && inodes <= FEW_INODES && bytes <= FEW_BYTES && !hasMountsBelow(kernel, source);
}
