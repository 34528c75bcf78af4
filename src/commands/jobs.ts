import type { MigrateOptions } from "../options.ts";
import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
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

/** By statfs(2); a filesystem that does not count its inodes (btrfs, many in user space) says 0 of all. */
function holdsLittle(kernel: Kernel, source: Root): boolean {
  const memory = kernel.sys.allocate(128);
  check(kernel.sys.fstatfs(source.fd, memory.address), "fstatfs", source.path);
  const at = (index: number): number => Number(memory.bytes.readBigUInt64LE(index * 8));
  const [blockBytes, blocks, freeBlocks, inodes, freeInodes] = [at(1), at(2), at(3), at(5), at(6)];
  const isLittle = inodes - freeInodes <= FEW_INODES && (blocks - freeBlocks) * blockBytes <= FEW_BYTES;
  return inodes > 0 && isLittle && !hasMountsBelow(kernel, source);
}
