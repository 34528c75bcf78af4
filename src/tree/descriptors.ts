import type { Kernel } from "../sys/files.ts";

const RLIMIT_NOFILE = 7;

/** How many descriptors this process may have; node has raised that as far as it goes. Infinity: the kernel does not say. */
export function descriptorLimit({ sys }: Kernel): number {
  const memory = sys.allocate(16);
  const isKnown = sys.getrlimit(RLIMIT_NOFILE, memory.address) === 0;
  return isKnown ? Number(memory.bytes.readBigUInt64LE(0)) : Infinity;
}
