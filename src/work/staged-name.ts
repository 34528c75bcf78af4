import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { blake3 } from "../../store/store.ts";
import { isStill, type Seen } from "./seen.ts";

/** Where a unit is staged: the same in the next run, so that what was built is found again. */
export function stagedName(path: Buffer): Buffer {
  return Buffer.from(`s${blake3(path).toString("hex", 0, 16)}`);
}

/** What stands for a container until it is made; swept by the next run when this one dies. */
export function emptyName(path: Buffer): Buffer {
  return Buffer.from(`c${blake3(path).toString("hex", 0, 16)}`);
}

/** What --delete takes away; `seen`: what it is to be, where that was decided a while ago. */
export function doomedName(serial: number, seen: Seen | undefined): Buffer {
  return Buffer.from(`t${String(serial)}${seen === undefined ? "" : `.${seen}`}`);
}

/** A staged entry of an update: what it is to replace, and the inode that it is (0n: not known yet). */
export type StagedUpdate = { serial: number; seen: Seen; newIno: bigint };

/** Swept by the next run when this one dies. What is exchanged has a name that tells both. */
export function updateName({ serial, seen, newIno }: StagedUpdate): Buffer {
  return Buffer.from(`u${String(serial)}${seen === "" || newIno === 0n ? "" : `.${seen}.${String(newIno)}`}`);
}

/** As that of an update, for what has a name in staging/ besides by which the next run finds it. */
export function exchangedName(seen: Seen, newIno: bigint): Buffer {
  return Buffer.from(`w0.${seen}.${String(newIno)}`);
}

/** What a name is to be, or one of two: also by way of a third (exchange.ts). */
const EXPECTED = /^(?:t|u|w|x\.u|x\.w)\d+((?:\.[0-9a-z_-]+)+)$/;

/**
 * Whether it is something that had taken a name a moment before that was to go or to be replaced, or a directory that
 * was filled just then, and a run died before it could put it back.
 */
export function isStranger(kernel: Kernel, stagingFd: number, name: Buffer): boolean {
  const [, expected] = EXPECTED.exec(name.toString("latin1")) ?? [];
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const looked = sys.statx(stagingFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
  if (expected === undefined || looked < 0) return false;
  const [, ...either] = expected.split(".");
  // A number alone is that of the new inode.
  return !either.some((each) => each === String(stat.ino) || isStill(kernel, stagingFd, name, each));
}
