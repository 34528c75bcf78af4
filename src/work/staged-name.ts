import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { blake3 } from "../../store/store.ts";

/** Where a unit is staged: the same in the next run, so that what was built is found again. */
export function stagedName(path: Buffer): Buffer {
  return Buffer.from(`s${blake3(path).toString("hex", 0, 16)}`);
}

/** What stands for a container until it is made; swept by the next run when this one dies. */
export function emptyName(path: Buffer): Buffer {
  return Buffer.from(`c${blake3(path).toString("hex", 0, 16)}`);
}

/** What --delete takes away; `ino`: the inode that it is to be, where that was decided a while ago. */
export function doomedName(serial: number, ino: bigint | undefined): Buffer {
  return Buffer.from(`t${String(serial)}${ino === undefined ? "" : `.${String(ino)}`}`);
}

/** A staged entry of an update: the inode that it is to replace (0n: none), and the one that it is (0n: not known yet). */
export type StagedUpdate = { serial: number; oldIno: bigint; newIno: bigint };

/** Swept by the next run when this one dies. What is exchanged has a name that tells both inodes. */
export function updateName({ serial, oldIno, newIno }: StagedUpdate): Buffer {
  const inodes = oldIno === 0n || newIno === 0n ? "" : `.${String(oldIno)}.${String(newIno)}`;
  return Buffer.from(`u${String(serial)}${inodes}`);
}

/** What a name is to be, or one of two: also by way of a third (exchange.ts). */
const EXPECTED = /^(?:t|u|x\.u)\d+((?:\.\d+)+)$/;

/**
 * Whether it is something that had taken a name a moment before that was to go or to be replaced, and a run died before
 * it could put it back.
 */
export function isStranger({ sys, scratch }: Kernel, stagingFd: number, name: Buffer): boolean {
  const [, expected] = EXPECTED.exec(name.toString("latin1")) ?? [];
  if (expected === undefined) return false;
  const stat = new Stat(sys);
  const result = sys.statx(stagingFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
  return result === 0 && !expected.split(".").includes(String(stat.ino));
}
