import type { JobsOptions } from "../options.ts";
import type { Kernel } from "../sys/files.ts";
import { usedSpace } from "../tree/identity.ts";
import { hasMountsBelow } from "../tree/reach.ts";
import type { Root } from "./preflight.ts";

/** Of so much one thread makes less than the start of another costs. */
const FEW_INODES = 1000;
const FEW_BYTES = 64 * 2 ** 20;

/** How many threads read `roots`: as many as were asked for, but one where their whole filesystems hold next to nothing. */
export function jobsFor(
  kernel: Kernel,
  { jobs, areJobsGiven }: JobsOptions,
  ...roots: readonly Root[]
): number {
  return !areJobsGiven && roots.every((root) => holdsLittle(kernel, root)) ? 1 : jobs;
}

function holdsLittle(kernel: Kernel, root: Root): boolean {
  const { bytes, inodes, hasInodes } = usedSpace(kernel.sys, root.fd, kernel.sys.allocate(256));
  return hasInodes && inodes <= FEW_INODES && bytes <= FEW_BYTES && !hasMountsBelow(kernel, root);
}
