import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { closing, pathOfDescriptor } from "../tree/reach.ts";
import { STORE_NAME } from "../../store/store.ts";
import type { Notice, Root } from "./preflight.ts";

/** One snapshot of a target, typed in the target's place, gets a store that knows nothing of the one it is in. */
export function aboutOuterStore(kernel: Kernel, target: Root): Notice[] {
  if (holdsStore(kernel, target.fd)) return [];
  const outer = findOuterStore(kernel, check(kernel.sys.dup(target.fd), "dup"), target.device);
  if (outer === undefined) return [];
  const message = `the target ${target.path} lies inside ${outer}, which has a store of its own: one made here knows nothing of that one. To use that one, name ${outer}`;
  return [{ level: "warning", code: "STORE_ABOVE", message }];
}

/** Upwards while st_dev stays the same; bind mounts are not looked through. Closes `fd`. */
function findOuterStore(kernel: Kernel, fd: number, device: number): string | undefined {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const inoOf = (at: number): bigint | undefined =>
    sys.statx(at, scratch.empty, AT_EMPTY_PATH, stat.address) === 0 && stat.device === device
      ? stat.ino
      : undefined;
  const ino = inoOf(fd);
  const parent = closing(kernel, fd, () =>
    sys.openat(fd, scratch.text(".."), O_PATH | sys.O_DIRECTORY | O_CLOEXEC, 0),
  );
  if (parent < 0) return undefined;
  const above = inoOf(parent);
  const isTop = above === undefined || above === ino;
  if (!isTop && !holdsStore(kernel, parent)) return findOuterStore(kernel, parent, device);
  return closing(kernel, parent, () => (isTop ? undefined : textOfPath(kernel, parent)));
}

function textOfPath(kernel: Kernel, fd: number): string {
  const path = pathOfDescriptor(kernel, fd);
  return path === undefined ? "another target" : Buffer.from(path, "latin1").toString();
}

function holdsStore({ sys, scratch }: Kernel, dirFd: number): boolean {
  const stat = new Stat(sys);
  const result = sys.statx(dirFd, scratch.text(STORE_NAME), AT_SYMLINK_NOFOLLOW, stat.address);
  return result === 0 && stat.isDirectory;
}
