import type { Sys } from "../sys/sys.ts";

const NICEST = 19;
/** IOPRIO_CLASS_IDLE above the 13 bits of a level (include/uapi/linux/ioprio.h). */
const IO_IDLE = 3 << 13;

/**
 * Lets all other work on the machine go first, on disk and processor; before any thread is started, as threads inherit
 * it. Where the kernel or a sandbox refuses, the run is as urgent as any other.
 */
export function becomeIdle(sys: Sys): void {
  sys.setNice(NICEST);
  sys.ioprioSet(IO_IDLE);
}
