import { AT_FDCWD } from "../sys/constants.ts";
import { isSysError } from "../sys/errors.ts";
import { readFile, type Kernel } from "../sys/files.ts";

/** RssAnon of this process now, in bytes; 0 where /proc does not tell. The kernel keeps no peak of it. */
export function rssAnonBytes(kernel: Kernel): number {
  const status = readStatus(kernel)?.toString("latin1") ?? "";
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

function readStatus(kernel: Kernel): Buffer | undefined {
  try {
    return readFile(kernel, AT_FDCWD, "/proc/self/status");
  } catch (error) {
    // A figure for the report is no reason to end the run.
    if (!isSysError(error)) throw error;
    return undefined;
  }
}
