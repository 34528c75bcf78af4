import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { blake3, type InodeKey, type SourceState } from "../../store/store.ts";
import { plainAttributes, readAttributes, type Attributes } from "../tree/attributes.ts";
import { procPath } from "../tree/apply.ts";
import { isLasting } from "../tree/identity.ts";
import { asHeld, type Held } from "../tree/traits.ts";
import { readWithoutXattrs, withoutXattrs } from "../tree/without-xattrs.ts";
import type { Entry } from "../tree/listing.ts";
import { fromSource } from "./errors.ts";
import type { Frame } from "./frame.ts";
import type { Thread } from "./thread.ts";

/** A source inode being dealt with. */
export type Subject = {
  frame: Frame;
  entry: Entry;
  key: InodeKey;
  state: SourceState;
  identity: Buffer;
  group: Buffer | undefined;
  /** Less than its size: the file may have holes. */
  allocatedBytes: number;
  /** Other names may come. */
  isShared: boolean;
  /** Met for the first time in this run: to be counted. */
  isFirst: boolean;
  /** Of its xattrs some are not kept: the next run has to look again, so as to say so again. */
  losesXattrs: boolean;
};

/** The inode that `thread.stat` describes, under this name. */
export function subjectOf(thread: Thread, frame: Frame, entry: Entry, key: InodeKey): Subject {
  const { stat, scratch, generations, rules } = thread;
  const isHome = stat.device === frame.filesystem.device;
  const identity = isHome ? frame.filesystem.identity : Buffer.alloc(frame.filesystem.identity.length);
  const generation = isLasting(identity) ? generations.of(frame.sourceFd, scratch.at(entry.name)) : 0;
  const size = stat.sizeBytes;
  const state = {
    ino: stat.ino,
    generation,
    sizeBytes: size,
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
  };
  const isMergeable = rules.merge === "all" && size >= rules.minSizeBytes && size <= rules.maxSizeBytes;
  const group = isMergeable ? undefined : groupOf(thread, identity, key, state);
  const allocatedBytes = stat.blocks * 512;
  const isShared = stat.nlink > 1;
  const isFirst = !isShared || thread.session.met.add(key);
  const known = { frame, entry, key, state, identity, group };
  return { ...known, allocatedBytes, isShared, isFirst, losesXattrs: false };
}

export function groupOf(thread: Thread, identity: Buffer, key: InodeKey, state: SourceState): Buffer {
  const salt = isLasting(identity) ? identity : thread.rules.runSalt;
  return groupDigest({ ...state, device: key.device, identity, salt });
}

/**
 * Names an inode for as long as it lives; for the run only where its filesystem has no lasting identity: then `salt`
 * takes its place, and st_dev tells filesystems apart.
 */
export function groupDigest(inode: {
  identity: Buffer;
  device: number;
  ino: bigint;
  generation: number;
  salt?: Buffer;
}): Buffer {
  const { identity, device, ino, generation, salt = identity } = inode;
  const numbers = Buffer.alloc(16);
  numbers.writeBigUInt64LE(ino, 0);
  numbers.writeUInt32LE(generation, 8);
  numbers.writeUInt32LE(isLasting(identity) ? 0 : device, 12);
  return blake3(Buffer.concat([salt, numbers])).subarray(0, 8);
}

/** What the target will hold of these attributes; what is lost is counted. */
export function heldOf(thread: Thread, attributes: Attributes): Held {
  const held = asHeld(thread.rules.xattrs ? attributes : withoutXattrs(attributes), thread.traits);
  countLost(thread, held);
  thread.counters.lostXattrs += held.lostXattrs;
  return held;
}

/** What is lost whether or not xattrs are looked at. */
export function countLost({ counters }: Thread, { lostOwner, lostTime }: Held): void {
  if (lostOwner) counters.lostOwners++;
  if (lostTime) counters.lostTimes++;
}

/** As `heldOf`, of a directory that cannot be opened; undefined where it is none any more. */
export function heldOfUnreadable(thread: Thread, sourceFd: number, name: Buffer): Attributes | undefined {
  const { sys, scratch, stat, xattrs, rules } = thread;
  if (sys.statx(sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0 || !stat.isDirectory)
    return undefined;
  const read = rules.xattrs ? readAttributes : readWithoutXattrs;
  return heldOf(
    thread,
    fromSource(() => read(stat, xattrs, { path: procPath(sourceFd, name) })),
  ).attributes;
}

/** The attributes of a subject that is not opened. */
export function attributesByName(
  thread: Thread,
  { frame, entry }: Subject,
  which: "all" | "skip xattrs",
): Attributes {
  const { stat, xattrs, rules } = thread;
  if (which === "skip xattrs") return plainAttributes(stat);
  const read = rules.xattrs ? readAttributes : readWithoutXattrs;
  return fromSource(() => read(stat, xattrs, { path: procPath(frame.sourceFd, entry.name) }));
}
