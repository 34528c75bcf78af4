import type { Stat } from "../sys/stat.ts";
import { GID, INO_HIGH, INO_LOW, MODE, MTIME, SIZE_HIGH, SIZE_LOW, STATX_WORDS, UID } from "./layout.ts";

/** Everything that statx tells of an inode but what links move: ctime and link count. */
const lasting = [INO_HIGH, INO_LOW, SIZE_HIGH, SIZE_LOW, MTIME, MTIME + 1, MTIME + 2, MODE, UID, GID];
const words = lasting.map((index) => STATX_WORDS[index] as number);
const seen = new Uint32Array(words.length);

/** Whether the inode is that of the record, with the size, time and attributes it had. */
export function isState(stat: Stat, record: Uint32Array): boolean {
  stat.copyWords(words, seen, 0);
  for (let index = 0; index < lasting.length; index++)
    if (seen[index] !== record[lasting[index] as number]) return false;
  return true;
}

export function isInode(stat: Stat, record: Uint32Array): boolean {
  return stat.inoLow === record[INO_LOW] && stat.inoHigh === record[INO_HIGH];
}
