import { randomBytes } from "node:crypto";
import { check, errno } from "../sys/errors.ts";
import { openDirectory, openRoot, type Kernel } from "../sys/files.ts";
import { removeTree } from "./remove.ts";

/** A directory of this process alone. What was opened in it outlives its removal. */
export type Temporary = {
  path: string;
  fd: number;
  /** Makes a directory in it unless it is there. @returns its path */
  make(name: string): string;
  /** As `make`. @returns a descriptor to read it by */
  open(name: string): number;
  /** The second call does nothing. */
  remove(): void;
};

/** @throws SysError */
export function makeTemporary(kernel: Kernel, parent: string, purpose = "dry-run"): Temporary {
  const { sys, scratch } = kernel;
  const parentFd = openRoot(kernel, parent);
  const name = `dedupe-${purpose}-${randomBytes(8).toString("hex")}`;
  check(sys.mkdirat(parentFd, scratch.text(name), 0o700), "mkdirat", name);
  const fd = openDirectory(kernel, parentFd, name);
  const path = `${parent}/${name}`;
  let isThere = true;
  const make = (child: string): string => {
    const made = sys.mkdirat(fd, scratch.text(child), 0o700);
    if (made !== -errno.EEXIST) check(made, "mkdirat", child);
    return `${path}/${child}`;
  };
  return {
    path,
    fd,
    make,
    open: (child) => {
      make(child);
      return openDirectory(kernel, fd, child);
    },
    remove: () => {
      if (!isThere) return;
      isThere = false;
      removeTree(kernel, parentFd, Buffer.from(name));
      sys.close(parentFd);
    },
  };
}
