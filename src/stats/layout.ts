/**
 * What stats writes down, as records of 32-bit words in scratch files (P6): each name with its inode and where it is,
 * and what an inode was when it was looked at. Numbers of two words go from the high to the low.
 */

/** The key of both: an inode. */
export const DEVICE = 0;
export const INO_HIGH = 1;
export const INO_LOW = 2;

/** Of a name: a position in the plan, or one of those that follow it. */
export const UNIT = 3;
export const NAME_WORDS = 4;
export const nameLayout = { words: NAME_WORDS, key: [DEVICE, INO_HIGH, INO_LOW, UNIT] } as const;

/** Of an inode, from NLINK on as in struct statx (include/uapi/linux/stat.h). */
export const NLINK = 3;
export const BLOCKS_HIGH = 4;
export const SIZE_HIGH = 6;
export const MODE = 8;
export const FACT_WORDS = 9;
export const FACT_STATX = [4, 13, 12, 11, 10, 7] as const;
export const factLayout = { words: FACT_WORDS, key: [DEVICE, INO_HIGH, INO_LOW] } as const;

/** Beside the units of the plan, whose number is `units`: names in objects/, and those in groups/. */
export const storeUnit = (units: number): number => units;
export const holderUnit = (units: number): number => units + 1;
/** The rest of the store's folder: index, log, what is being built. */
export const storeRestUnit = (units: number): number => units + 2;
/** Units and what is counted beside them. */
export const countedUnits = (units: number): number => units + 3;
/** Not a name: a source inode that the index knows to have become this one. */
export const indexUnit = (units: number): number => units + 3;

/** What threads count for each unit, and for what comes beside them, in shared memory. */
export const COUNT_NAMES = 0;
export const COUNT_DIRECTORIES = 1;
export const COUNT_DIRECTORY_BYTES = 2;
/** Of the store: names of objects, and those of siblings, which are among them in objects/. */
export const COUNT_OBJECTS = 3;
export const COUNT_SIBLINGS = 4;
export const COUNT_COLUMNS = 5;

/** st_blocks counts these. */
export const BLOCK_BYTES = 512;
