import { blake3 } from "./hash/blake3.ts";

export const VARIANT_BYTES = 8;

/** The attributes that a variant is made of; an ignored one is left out (undefined). */
export type VariantRecord = {
  mode: number | undefined;
  owner: { uid: number; gid: number } | undefined;
  mtimeNs: bigint | undefined;
  xattrs: readonly { name: Uint8Array; value: Uint8Array }[] | undefined;
};

/** Room for the record of an inode without xattrs, reused: most inodes have none. */
const fixed = Buffer.alloc(4 + 4 + 8 + 12 + 4);

/**
 * The canonical record, in the order of docs/store-format.md: a word that says which attributes are compared,
 * mode, uid, gid, mtime as floored seconds (signed 64-bit) and nanoseconds, then each xattr as length-prefixed
 * name and value, sorted by name. Little-endian; what is not compared is zero.
 */
function encode(record: VariantRecord): Buffer {
  const seconds = record.mtimeNs === undefined ? 0n : floorSeconds(record.mtimeNs);
  const compared =
    (record.mode === undefined ? 0 : 1) |
    (record.owner === undefined ? 0 : 2) |
    (record.mtimeNs === undefined ? 0 : 4) |
    (record.xattrs === undefined ? 0 : 8);
  fixed.writeUInt32LE(compared, 0);
  fixed.writeUInt32LE(record.mode ?? 0, 4);
  fixed.writeUInt32LE(record.owner?.uid ?? 0, 8);
  fixed.writeUInt32LE(record.owner?.gid ?? 0, 12);
  fixed.writeBigInt64LE(seconds, 16);
  fixed.writeUInt32LE(Number((record.mtimeNs ?? 0n) - seconds * 1_000_000_000n), 24);
  fixed.writeUInt32LE(record.xattrs?.length ?? 0, 28);
  if (record.xattrs === undefined || record.xattrs.length === 0) return fixed;
  return Buffer.concat([
    fixed,
    ...record.xattrs.flatMap(({ name, value }) => [prefixed(name), prefixed(value)]),
  ]);
}

function floorSeconds(timeNs: bigint): bigint {
  const seconds = timeNs / 1_000_000_000n;
  return timeNs < seconds * 1_000_000_000n ? seconds - 1n : seconds;
}

function prefixed(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** The first 8 bytes of the BLAKE3 of the canonical record. */
export function variantOf(record: VariantRecord): Buffer {
  return blake3(encode(record)).subarray(0, VARIANT_BYTES);
}
