import { createHash } from "node:crypto";
import { S_IFDIR, S_IFLNK } from "../sys/constants.ts";
import type { Facts } from "./inode-reader.ts";

const NS_PER_SECOND = 1_000_000_000n;
/** Of an inode: 16 bytes for what it is, 32 for its content. */
export const MARK_BYTES = 48;
const ATTRIBUTE_BYTES = 16;
/** A list of names longer than this enters its directory's digest as a digest of its own. */
const RAW_BYTES = 1 << 16;

/**
 * The first 16 bytes of the SHA-256 of type, mode, owner, group, time, size, device number and xattrs.
 * docs/design.md, "The certificate". Little-endian.
 */
export function attributeMark(facts: Facts, time: "with-time" | "without-time" = "with-time"): Buffer {
  const fixed = Buffer.alloc(52);
  fixed.writeUInt32LE(facts.type, 0);
  // A symlink's mode is the filesystem's, and so is a directory's size.
  fixed.writeUInt32LE(facts.type === S_IFLNK ? 0 : facts.mode, 4);
  fixed.writeUInt32LE(facts.uid, 8);
  fixed.writeUInt32LE(facts.gid, 12);
  if (time === "with-time") {
    const nanoseconds = ((facts.mtimeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
    fixed.writeBigInt64LE((facts.mtimeNs - nanoseconds) / NS_PER_SECOND, 16);
    fixed.writeUInt32LE(Number(nanoseconds), 24);
  }
  fixed.writeBigUInt64LE(BigInt(facts.type === S_IFDIR ? 0 : facts.sizeBytes), 28);
  fixed.writeUInt32LE(facts.rdevMajor, 36);
  fixed.writeUInt32LE(facts.rdevMinor, 40);
  fixed.writeUInt32LE(facts.xattrs.length, 44);
  const hash = createHash("sha256").update(fixed);
  for (const text of facts.xattrs.flat()) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    hash.update(length).update(text, "latin1");
  }
  return hash.digest().subarray(0, ATTRIBUTE_BYTES);
}

/** The names of a directory that are no directories, in byte order, each with the mark of its inode. */
export class NameSection {
  readonly bytes: Buffer;
  #at = 0;

  constructor(names: readonly string[]) {
    this.bytes = Buffer.alloc(names.reduce((sum, name) => sum + 2 + name.length + MARK_BYTES, 0));
  }

  /** Names come in byte order. @returns where the mark belongs; it is zero until it is set. */
  add(name: string): number {
    this.#at = this.bytes.writeUInt16LE(name.length, this.#at);
    this.#at += this.bytes.write(name, this.#at, "latin1");
    this.#at += MARK_BYTES;
    return this.#at - MARK_BYTES;
  }

  /** The names, or a digest of them where they are many. */
  close(): Buffer {
    return this.bytes.length <= RAW_BYTES ? this.bytes : createHash("sha256").update(this.bytes).digest();
  }
}

/** SHA-256 over a directory: its own attributes, its other names, its subdirectories in byte order. */
export function directoryDigest(
  attributes: Buffer,
  section: Buffer,
  subdirectories: readonly { name: string; digest: Buffer }[],
): Buffer {
  const hash = createHash("sha256").update(attributes);
  const counts = Buffer.alloc(8);
  counts.writeUInt32LE(section.length, 0);
  counts.writeUInt32LE(subdirectories.length, 4);
  hash.update(counts).update(section);
  for (const { name, digest } of subdirectories) {
    const length = Buffer.alloc(2);
    length.writeUInt16LE(name.length);
    hash.update(length).update(name, "latin1").update(digest);
  }
  return hash.digest();
}
