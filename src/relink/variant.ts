import type { Compared } from "../options.ts";
import type { Stat } from "../sys/stat.ts";
import { variantOf, type Ref, type VariantRecord } from "../../store/store.ts";
import { fromSource } from "../work/errors.ts";
import { groupDigest } from "../work/subject.ts";
import type { Xattr } from "../tree/attributes.ts";
import {
  DIGEST,
  DIGEST_WORDS,
  GENERATION,
  GID,
  MODE,
  MTIME,
  UID,
  XATTR_VARIANT,
  inoAt,
  timeAt,
} from "./layout.ts";
import { TARGET_ROW } from "./batch-memory.ts";
import type { RelinkRules } from "./messages.ts";
import type { RelinkThread } from "./relink-thread.ts";

/** The compared attributes of an inode of the stock, in the store's terms. */
export function variantRecordOf(
  record: Uint32Array,
  compared: Compared,
  xattrs: readonly Xattr[],
): VariantRecord {
  return {
    mode: compared.mode ? (record[MODE] as number) & 0o7777 : undefined,
    owner: compared.owner ? { uid: record[UID] as number, gid: record[GID] as number } : undefined,
    mtimeNs: compared.time ? timeAt(record, MTIME) : undefined,
    xattrs: compared.xattrs ? xattrs : undefined,
  };
}

/** The variant of the inode that `stat` describes. */
export function variantOfStat(stat: Stat, compared: Compared, xattrs: () => readonly Xattr[]): Buffer {
  return variantOf({
    mode: compared.mode ? stat.mode & 0o7777 : undefined,
    owner: compared.owner ? { uid: stat.uid, gid: stat.gid } : undefined,
    mtimeNs: compared.time ? stat.mtimeNs : undefined,
    xattrs: compared.xattrs ? xattrs() : undefined,
  });
}

/** Of an inode that was read: its xattrs, if it has any, are in the record as part of the variant. */
export function variantOfRead(record: Uint32Array, compared: Compared): Buffer {
  const words = record.slice(XATTR_VARIANT, XATTR_VARIANT + 2);
  if (words.some((word) => word !== 0)) return Buffer.from(words.buffer);
  return Buffer.from(variantOf(variantRecordOf(record, compared, [])));
}

/** What an inode that was read is to be called in the store; its sibling number is 0. */
export function setRefOfRead(ref: Ref, record: Uint32Array, rules: RelinkRules): Ref {
  const digest = new Uint8Array(record.slice(DIGEST, DIGEST + DIGEST_WORDS).buffer);
  const group = rules.merge === "all" ? undefined : groupOfRead(record, rules);
  return ref.setObject(digest, variantOfRead(record, rules.compared), group);
}

function groupOfRead(record: Uint32Array, { identity, device }: RelinkRules): Buffer {
  return groupDigest({ identity, device, ino: inoAt(record), generation: record[GENERATION] as number });
}

/** Whether the open inode has the extended attributes of the target, as part of its variant. */
export function hasXattrsOf(thread: RelinkThread, target: Uint32Array, fd: number): boolean {
  const { compared } = thread.rules;
  if (!compared.xattrs) return true;
  const found = fromSource(() => thread.xattrs.read({ fd }));
  const wanted = target.slice(TARGET_ROW.xattrs, TARGET_ROW.xattrs + 2);
  if (found.length === 0) return wanted.every((word) => word === 0);
  const variant = variantOf(variantRecordOf(target.subarray(TARGET_ROW.inode), compared, found));
  return Buffer.from(variant).equals(Buffer.from(wanted.buffer));
}
