/**
 * What the stock of a relink holds, as records of 32-bit words: names and inodes lie in scratch files, whatever their
 * number (P6). A record's first words are its key where it is sorted; words of one number go from the high to the low.
 */

/** What tells an inode and its state, in every record at the same place. */
export const INO_HIGH = 0;
export const INO_LOW = 1;
export const SIZE_HIGH = 2;
export const SIZE_LOW = 3;
/** Seconds high and low, nanoseconds. */
export const MTIME = 4;
export const MODE = 7;
export const UID = 8;
export const GID = 9;
export const CTIME = 10;
export const NLINK = 13;
/** Two words. */
export const BLOCKS_HIGH = 14;
/** The words above, as indexes into struct statx (include/uapi/linux/stat.h). */
export const STATX_WORDS = [9, 8, 11, 10, 29, 28, 30, 7, 5, 6, 25, 24, 26, 4, 13, 12] as const;
export const STATE_WORDS = STATX_WORDS.length;

/** Of a name: where it is. */
export const NAME_DIRECTORY = 16;
/** Length of the name, and above it which thread's heap it lies in; then two words for where. */
export const NAME_LENGTH = 17;
/** Position of its snapshot in the plan. */
export const NAME_UNIT = 20;
export const NAME_WORDS = 21;

/** Of an inode. Its names are consecutive in a file of their own. */
export const NAMES_AT_HIGH = 16;
export const NAMES_COUNT = 18;
/** The newest snapshot that has it, and the most names that one snapshot has of it. */
export const BEST_UNIT = 19;
export const MOST_IN_UNIT = 20;
export const GENERATION = 21;
export const DIGEST = 22;
export const DIGEST_WORDS = 8;
/** Of an inode with xattrs the whole variant, as they are part of it; zero without. */
export const XATTR_VARIANT = 30;
/** Stands for the xattrs alone, where they are compared and there are some. */
export const XATTR_MARK = 32;
/** 1: its digest is an earlier run's, and its content was not read. */
export const UNREAD = 34;
/** 1: this user may not give it another name. */
export const UNLINKABLE = 35;
export const INODE_WORDS = 36;

/** A name among those of its inode. */
export const PLACE_WORDS = 5;

/** A class: what it frees (as a complement, so that the most comes first), then its digest for a fixed order. */
export const CLASS_REST_HIGH = 0;
export const CLASS_DIGEST = 2;
export const CLASS_AT_HIGH = 4;
export const CLASS_COUNT = 6;
/** Which of its members survives, if it is not an object without a name in the tree. */
export const CLASS_SURVIVOR = 7;
export const CLASS_WORDS = 8;

const HIGH = 0x100000000;

/** A number of two words; exact up to 2^53. */
export function numberAt(words: Uint32Array, high: number): number {
  return (words[high] as number) * HIGH + (words[high + 1] as number);
}

export function putNumber(words: Uint32Array, high: number, value: number): void {
  words[high] = Math.floor(value / HIGH);
  words[high + 1] = value >>> 0;
}

export function inoAt(words: Uint32Array, at = 0): bigint {
  return (BigInt(words[at + INO_HIGH] as number) << 32n) | BigInt(words[at + INO_LOW] as number);
}

/** Three words: signed seconds and nanoseconds. */
export function timeAt(words: Uint32Array, at: number): bigint {
  const seconds = BigInt.asIntN(64, (BigInt(words[at] as number) << 32n) | BigInt(words[at + 1] as number));
  return seconds * 1_000_000_000n + BigInt(words[at + 2] as number);
}

/** Words that inodes must share to be of one class before their content is known. */
export function comparedWords(compared: { time: boolean; mode: boolean; owner: boolean }): number[] {
  return [
    SIZE_HIGH,
    SIZE_LOW,
    ...(compared.time ? [MTIME, MTIME + 1, MTIME + 2] : []),
    ...(compared.mode ? [MODE] : []),
    ...(compared.owner ? [UID, GID] : []),
  ];
}

export function sameWords(a: Uint32Array, b: Uint32Array, indexes: readonly number[]): boolean {
  return indexes.every((index) => a[index] === b[index]);
}
