import { randomBytes } from "node:crypto";
import { LOCK_EX, LOCK_NB, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { check, errno, isSysError } from "../sys/errors.ts";
import { openDirectory, openQuietly, openRoot, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "./listing.ts";
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

type Purpose = "dry-run" | "plans" | "stats";

const NAME = /^dedupe-(dry-run|plans|stats)-[0-9a-f]{16}$/;
/** A run locks its directory a moment after it made it. */
const YOUNG_SECONDS = 3600;

/** Drops what killed runs left there, too. @throws SysError */
export function makeTemporary(kernel: Kernel, parent: string, purpose: Purpose = "dry-run"): Temporary {
  const { sys, scratch } = kernel;
  const parentFd = openRoot(kernel, parent);
  sweep(kernel, parentFd);
  const name = `dedupe-${purpose}-${randomBytes(8).toString("hex")}`;
  check(sys.mkdirat(parentFd, scratch.text(name), 0o700), "mkdirat", name);
  const fd = openDirectory(kernel, parentFd, name);
  // Where the filesystem has no locks nothing can be swept either.
  sys.flock(fd, LOCK_EX | LOCK_NB);
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

function sweep(kernel: Kernel, parentFd: number): void {
  const listing = new Listing(kernel.sys);
  const found: Buffer[] = [];
  while (listing.read(parentFd) > 0)
    while (listing.next()) {
      const name = listing.copyName();
      if (NAME.test(name.toString("latin1"))) found.push(name);
    }
  for (const name of found) dropDead(kernel, parentFd, name);
}

/** Where it is this user's, and no living run holds its lock. */
function dropDead(kernel: Kernel, parentFd: number, name: Buffer): void {
  const { sys, scratch } = kernel;
  const flags = O_RDONLY | O_CLOEXEC | sys.O_DIRECTORY | sys.O_NOFOLLOW;
  const fd = openQuietly(sys, parentFd, scratch.at(name), flags);
  if (fd < 0) return;
  try {
    const { uid, mode, mtimeSeconds } = statDescriptor(kernel, fd, new Stat(sys));
    const isYoung = Date.now() / 1000 - mtimeSeconds < YOUNG_SECONDS;
    // Another directory of this user's may have been moved here by somebody else: none of ours lets others in.
    const isOwn = uid === sys.geteuid() && (mode & 0o777) === 0o700;
    if (!isOwn || isYoung || sys.flock(fd, LOCK_EX | LOCK_NB) !== 0) return;
    removeTree(kernel, parentFd, name);
  } catch (error) {
    // It stays for the next run.
    if (!isSysError(error)) throw error;
  } finally {
    sys.close(fd);
  }
}
