import { dirname, resolve } from "node:path";
import { DedupeError } from "../errors.ts";
import type { MigrateOptions } from "../options.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import { isSysError } from "../sys/errors.ts";
import { openRoot, PATH_MAX, type Kernel } from "../sys/files.ts";
import { pathOfDescriptor, reaches } from "../tree/reach.ts";
import { openKernel } from "./migrate-run.ts";

/**
 * P1: the log and the index are the user's own places, and must not be in the source, by whatever symlinks and bind
 * mounts either is named. Before the log is opened. @throws DedupeError
 */
export async function refuseInsideSource(options: MigrateOptions, sysModule: URL | undefined): Promise<void> {
  const { logFile, indexDir, source } = options;
  if (logFile === undefined && indexDir === undefined) return;
  const { kernel } = await openKernel(sysModule);
  const sourceFd = openIfThere(kernel, source);
  // The preflight says what is wrong with the source.
  if (sourceFd < 0) return;
  const places = { "--log-file": logFile, "--index": indexDir };
  for (const [option, path] of Object.entries(places)) {
    if (path !== undefined && isInside(kernel, sourceFd, path)) {
      throw new DedupeError(
        "INSIDE_SOURCE",
        `${option} ${path} lies inside the source, which is never written`,
        {
          hint: "Name a place outside of it.",
          exitCode: "usage",
        },
      );
    }
  }
  kernel.sys.close(sourceFd);
}

/** By the nearest directory that is there: the rest of the path will be made below it. */
function isInside(kernel: Kernel, sourceFd: number, path: string): boolean {
  const named = resolve(path);
  for (let at = targetOf(kernel, named); ; at = dirname(at)) {
    const fd = openIfThere(kernel, at);
    if (fd >= 0) {
      const isReached = reaches(kernel, sourceFd, fd);
      kernel.sys.close(fd);
      return isReached;
    }
    if (at === dirname(at)) return false;
  }
}

/** Where a path leads, if it leads to something: a log may be a symlink to a file. */
function targetOf(kernel: Kernel, path: string): string {
  const { sys, scratch } = kernel;
  if (Buffer.byteLength(path) >= PATH_MAX) return path;
  const fd = sys.openat(AT_FDCWD, scratch.text(path), O_PATH | O_CLOEXEC, 0);
  if (fd < 0) return path;
  const target = pathOfDescriptor(kernel, fd);
  sys.close(fd);
  return target === undefined ? path : Buffer.from(target, "latin1").toString();
}

/** A descriptor, or -1 where no directory of this name can be opened. */
function openIfThere(kernel: Kernel, path: string): number {
  try {
    return openRoot(kernel, path);
  } catch (error) {
    if (!isSysError(error)) throw error;
    return -1;
  }
}
