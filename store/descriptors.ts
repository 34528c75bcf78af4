import type { Kernel } from "../src/sys/files.ts";

/** RLIMIT_NOFILE (asm-generic/resource.h); as many as the inode table has entries is enough. */
const RLIMIT_NOFILE = 7;
const WANTED_DESCRIPTORS = 140_000;

/**
 * How many descriptors the inode table may have, of a limit that is raised as far as this process may; the rest is for
 * everything else: walks take two a level.
 */
export function descriptorsToLend(kernel: Kernel): number {
  const limit = raiseDescriptorLimit(kernel);
  const kept = Math.min(8_192, Math.max(1_024, limit >> 3));
  return Math.max(0, limit - kept);
}

/** How many descriptors this process may have, raised as far as it may be. */
function raiseDescriptorLimit({ sys }: Kernel): number {
  const memory = sys.allocate(16);
  const limits = new BigUint64Array(memory.bytes.buffer, memory.bytes.byteOffset, 2);
  for (const wanted of [BigInt(WANTED_DESCRIPTORS), undefined]) {
    if (sys.getrlimit(RLIMIT_NOFILE, memory.address) < 0) return 0;
    const [soft = 0n, hard = 0n] = limits;
    limits[0] = wanted !== undefined && wanted > hard ? wanted : hard;
    if (wanted !== undefined && wanted > hard) limits[1] = wanted;
    if (sys.setrlimit(RLIMIT_NOFILE, memory.address) === 0) return Number(limits[0]);
    if (wanted === undefined) return Number(soft);
  }
  return 0;
}
