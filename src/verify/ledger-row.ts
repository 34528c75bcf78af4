/** An inode of one of the two trees. */
export type InodeKey = { side: 0 | 1; device: number; inoLow: number; inoHigh: number };

/** Words of a row. The mark is 12 words: 16 bytes for the attributes, 32 for the content. */
export const ROW_WORDS = 22;
export const STATE = 0;
export const DEVICE = 1;
export const LOW = 2;
export const HIGH = 3;
export const SIDE = 4;
export const FLAGS = 5;
export const PARTNER_DEVICE = 6;
export const PARTNER_LOW = 7;
export const PARTNER_HIGH = 8;
export const PARTNER_LINKS = 9;
export const MARK = 10;

/** Words before the rows in shared memory. */
export const HEADER_WORDS = 64;
export const LOCK = 0;
export const BELL = 1;
export const USED = 2;
export const LEVELS = 3;
/** Of level n: the descriptor at LEVEL_FD + n, the rows in use at LEVEL_USED + n. */
export const LEVEL_FD = 8;
export const LEVEL_USED = 32;
export const MOST_LEVELS = 20;

export function rowHash(side: number, device: number, inoLow: number, inoHigh: number): number {
  let hash = Math.imul(inoLow ^ Math.imul(inoHigh + 0x51ed27, 0x9e3779b1), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15) ^ Math.imul(device + side, 0xc2b2ae35), 0x27d4eb2f);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** Of a target inode: where it has data is where some source inode that it stands for has data. */
export const LAYOUT_EXPLAINED = 1;
/** Of a target inode: that a group was split off into it has been said. */
export const SPLIT_SAID = 2;
/** Of a target inode: some source inode that it stands for has this value of an attribute that the store ignores. */
export const TIME_EXPLAINED = 4;
export const MODE_EXPLAINED = 8;
export const OWNER_EXPLAINED = 16;
export const GROUP_EXPLAINED = 32;
export const XATTRS_EXPLAINED = 64;

/** The mark of a row: 48 bytes, attributes and content. */
export function markOf(row: Int32Array): Uint8Array {
  return new Uint8Array(row.buffer, row.byteOffset + MARK * 4, (ROW_WORDS - MARK) * 4);
}

export function hasFlag(row: Int32Array, flag: number): boolean {
  return ((row[FLAGS] as number) & flag) !== 0;
}

export function isPartner(row: Int32Array, device: number, inoLow: number, inoHigh: number): boolean {
  return (
    row[PARTNER_LOW] === (inoLow | 0) &&
    row[PARTNER_HIGH] === (inoHigh | 0) &&
    row[PARTNER_DEVICE] === (device | 0)
  );
}

export function setPartner(
  row: Int32Array,
  partner: { device: number; inoLow: number; inoHigh: number; links: number },
): void {
  row[PARTNER_DEVICE] = partner.device | 0;
  row[PARTNER_LOW] = partner.inoLow | 0;
  row[PARTNER_HIGH] = partner.inoHigh | 0;
  row[PARTNER_LINKS] = partner.links;
}
