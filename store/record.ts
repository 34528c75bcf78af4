import { crc32 } from "node:zlib";
import type { Memory, Sys } from "../src/sys/sys.ts";
import { REF_BYTES } from "./ref.ts";

/** Bytes of a record; see docs/store-format.md. */
export const RECORD_BYTES = 152;
const MAGIC = 0x31726464;
const CHECKED_FROM = 8;
const NS_PER_SECOND = 1_000_000_000n;

/** A filesystem's lasting identity: UUID, and on btrfs the subvolume; 16 bytes. */
export const IDENTITY_BYTES = 16;

/** What the quick check compares: docs/design.md, "Quick check". */
export type SourceState = {
  ino: bigint;
  generation: number;
  sizeBytes: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
};

/** The store's inode as it was when its content was known to be right. A negative size: it is not right any more. */
export type TargetState = { ino: bigint; sizeBytes: number; mtimeNs: bigint };

/**
 * One fact: the source inode `source` of filesystem `identity` is, with its content and attributes, the store's
 * inode `ref`, which is `target`. Both index rows of an inode are cut from it.
 */
export type KnownInode = { identity: Uint8Array; source: SourceState; target: TargetState; ref: Uint8Array };

/** Stays as a hint for a repair, and no inode has such a size. Of the store's own row alone. */
export function disbelieved(row: TargetState, ref: Uint8Array): KnownInode {
  const target = { ...row, sizeBytes: -row.sizeBytes };
  const source = { ...target, generation: 0, ctimeNs: 0n };
  return { identity: Buffer.alloc(IDENTITY_BYTES), source, target, ref };
}

/** Records of one thread on their way to the journal. */
export class RecordBuffer {
  readonly memory: Memory;
  readonly #capacityBytes: number;
  lengthBytes = 0;

  constructor(sys: Sys, capacity: number) {
    this.#capacityBytes = capacity * RECORD_BYTES;
    this.memory = sys.allocate(this.#capacityBytes);
  }

  get isFull(): boolean {
    return this.lengthBytes === this.#capacityBytes;
  }

  clear(): this {
    this.lengthBytes = 0;
    return this;
  }

  append({ identity, source, target, ref }: KnownInode): this {
    const out = this.memory.bytes.subarray(this.lengthBytes, this.lengthBytes + RECORD_BYTES);
    this.lengthBytes += RECORD_BYTES;
    out.writeUInt32LE(MAGIC, 0);
    out.set(identity, 8);
    out.writeBigUInt64LE(source.ino, 24);
    out.writeUInt32LE(source.generation, 32);
    out.writeUInt32LE(0, 36);
    out.writeDoubleLE(source.sizeBytes, 40);
    writeTime(out, 48, source.mtimeNs);
    writeTime(out, 60, source.ctimeNs);
    out.writeBigUInt64LE(target.ino, 72);
    out.writeDoubleLE(target.sizeBytes, 80);
    writeTime(out, 88, target.mtimeNs);
    out.set(ref, 100);
    out.writeUInt32LE(crc32(out.subarray(CHECKED_FROM, RECORD_BYTES)), 4);
    return this;
  }
}

/** Whether the bytes are a whole, undamaged record. */
export function isRecord(bytes: Buffer): boolean {
  if (bytes.length < RECORD_BYTES || bytes.readUInt32LE(0) !== MAGIC) return false;
  return crc32(bytes.subarray(CHECKED_FROM, RECORD_BYTES)) === bytes.readUInt32LE(4);
}

/** What the index's keys are made of; views into the record, the inode number little-endian. */
export function rawFields(record: Buffer) {
  return {
    identity: record.subarray(8, 24),
    ino: record.subarray(24, 32),
    ref: record.subarray(100, 100 + REF_BYTES),
    targetSizeBytes: record.readDoubleLE(80),
  };
}

/** undefined where the bytes are not a whole, undamaged record. */
export function decodeRecord(bytes: Buffer): KnownInode | undefined {
  if (!isRecord(bytes)) return undefined;
  return {
    identity: bytes.subarray(8, 24),
    source: decodeSource(bytes.subarray(24)),
    target: decodeTarget(bytes.subarray(72)),
    ref: bytes.subarray(100, 100 + REF_BYTES),
  };
}

/** The source row's value is the record from the generation on, the object row's its target part. */
export const sourceRow = (record: Buffer): Buffer => record.subarray(24, RECORD_BYTES);
export const objectRow = (record: Buffer): Buffer => record.subarray(72, 100);

export function decodeSource(row: Buffer): SourceState {
  return {
    ino: row.readBigUInt64LE(0),
    generation: row.readUInt32LE(8),
    sizeBytes: row.readDoubleLE(16),
    mtimeNs: readTime(row, 24),
    ctimeNs: readTime(row, 36),
  };
}

export function decodeTarget(row: Buffer): TargetState {
  return { ino: row.readBigUInt64LE(0), sizeBytes: row.readDoubleLE(8), mtimeNs: readTime(row, 16) };
}

export const targetOfSourceRow = (row: Buffer): TargetState => decodeTarget(row.subarray(48));

export function decodeSourceRow(row: Buffer): { source: SourceState; target: TargetState; ref: Buffer } {
  return {
    source: decodeSource(row),
    target: targetOfSourceRow(row),
    ref: row.subarray(76, 76 + REF_BYTES),
  };
}

/** Seconds as a signed 64-bit integer, then nanoseconds: 12 bytes, good for every time Linux can hold. */
function writeTime(out: Buffer, at: number, timeNs: bigint): void {
  let seconds = timeNs / NS_PER_SECOND;
  let nanoseconds = timeNs % NS_PER_SECOND;
  if (nanoseconds < 0n) {
    seconds -= 1n;
    nanoseconds += NS_PER_SECOND;
  }
  out.writeBigInt64LE(seconds, at);
  out.writeUInt32LE(Number(nanoseconds), at + 8);
}

function readTime(bytes: Buffer, at: number): bigint {
  return bytes.readBigInt64LE(at) * NS_PER_SECOND + BigInt(bytes.readUInt32LE(at + 8));
}
