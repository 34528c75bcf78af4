import { statSync } from "node:fs";

/**
 * Whether the inode behind the descriptor has a time of birth: on ext4's driver only inodes with room for it do, and
 * those have room for nanoseconds too. Through Node, whose statx(2) asks for this one field more than ours.
 */
export function hasBirthTime(fd: number): boolean {
  return statSync(`/proc/self/fd/${String(fd)}`, { bigint: true }).birthtimeNs !== 0n;
}
