import { AT_FDCWD } from "../sys/constants.ts";
import { readFile, type Kernel } from "../sys/files.ts";

/** RssAnon of this process now, in bytes; 0 where /proc does not tell. The kernel keeps no peak of it. */
export function rssAnonBytes(kernel: Kernel): number {
  const status = readFile(kernel, AT_FDCWD, "/proc/self/status")?.toString("latin1") ?? "";
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}
