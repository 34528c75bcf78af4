import { DedupeError } from "../errors.ts";
import { LOCK_EX, LOCK_NB } from "../sys/constants.ts";
import { openRoot, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { TimesBuffer } from "../tree/times.ts";
import { dropBesideNames } from "../relink/beside.ts";
import type { Notice, Root } from "./preflight.ts";

/** What a run left that was killed on a full disk. @throws DedupeError where another run is at it; SysError */
export function settleBeside(kernel: Kernel, root: Root): Notice[] {
  const lock = lockRoot(kernel, root);
  try {
    return giveBackBeside(kernel, root);
  } finally {
    kernel.sys.close(lock);
  }
}

/** To be called by whoever has the root's lock. @returns what is said of the names that stay. @throws SysError */
export function giveBackBeside(kernel: Kernel, root: Root): Notice[] {
  const before = timeOf(kernel, root);
  try {
    return dropBesideNames(kernel, root.fd).map((name): Notice => {
      const message = `${root.path}/${name.toString("latin1")} was taken out of its place by a run that was killed or found no room, and could not be put back; it was kept`;
      return { level: "warning", code: "LEFTOVER", message };
    });
  } finally {
    putTimeBack(kernel, root, before);
  }
}

/** Until the descriptor is closed. */
export function lockRoot(kernel: Kernel, root: Root): number {
  const fd = openRoot(kernel, root.path);
  if (kernel.sys.flock(fd, LOCK_EX | LOCK_NB) === 0) return fd;
  throw new DedupeError("STORE_LOCKED", `another run of dedupe is using ${root.path}`, {
    hint: "Wait until it has ended; if it was killed, the kernel has freed the lock already.",
    exitCode: "locked",
  });
}

export function timeOf(kernel: Kernel, root: Root): bigint {
  return statDescriptor(kernel, root.fd, new Stat(kernel.sys)).mtimeNs;
}

export function putTimeBack(kernel: Kernel, root: Root, mtimeNs: bigint): void {
  if (timeOf(kernel, root) === mtimeNs) return;
  kernel.sys.futimens(root.fd, new TimesBuffer(kernel.sys).withMtime(mtimeNs));
}
