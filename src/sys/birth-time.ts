import { statSync } from "node:fs";

/**
 * When the inode behind the descriptor was made; 0n where that is not kept. Through Node, whose statx(2) asks for this
 * one field more than ours.
 */
export function birthTimeNs(fd: number): bigint {
  return statSync(`/proc/self/fd/${String(fd)}`, { bigint: true }).birthtimeNs;
}

/** On ext4's driver only inodes with room for a time of birth have one, and those have room for nanoseconds too. */
export function hasBirthTime(fd: number): boolean {
  return birthTimeNs(fd) !== 0n;
}
