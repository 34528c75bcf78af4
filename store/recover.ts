import { AT_EMPTY_PATH, O_CLOEXEC, O_NONBLOCK, O_RDONLY, POSIX_FADV_DONTNEED } from "../src/sys/constants.ts";
import type { Kernel } from "../src/sys/files.ts";
import { Stat } from "../src/sys/stat.ts";
import type { ContentMover } from "./content.ts";
import { RECORD_BYTES, decodeRecord, type KnownInode } from "./record.ts";
import { Ref } from "./ref.ts";

/**
 * Of the records of an unsealed batch, those that still hold: the object is the inode the record names and its
 * content hashes to its name. Nothing else may be believed after a crash.
 */
export function recoverRecords(
  kernel: Kernel,
  objectsFd: number,
  content: ContentMover,
  records: Buffer,
): Buffer {
  const ref = new Ref(kernel.sys);
  const stat = new Stat(kernel.sys);
  const good: Buffer[] = [];
  for (let at = 0; at + RECORD_BYTES <= records.length; at += RECORD_BYTES) {
    const record = records.subarray(at, at + RECORD_BYTES);
    const known = decodeRecord(record);
    if (known === undefined || ref.setBytes(known.ref).kind !== "object") continue;
    if (holds(kernel, objectsFd, { known, ref, stat, content })) good.push(Buffer.from(record));
  }
  return Buffer.concat(good);
}

type Candidate = { known: KnownInode; ref: Ref; stat: Stat; content: ContentMover };

function holds(
  { sys, scratch }: Kernel,
  objectsFd: number,
  { known, ref, stat, content }: Candidate,
): boolean {
  const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = sys.openat(objectsFd, ref.format(), flags, 0);
  if (fd < 0) return false;
  try {
    if (sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address) < 0) return false;
    if (stat.ino !== known.target.ino || stat.sizeBytes !== known.target.sizeBytes) return false;
    if (stat.mtimeNs !== known.target.mtimeNs) return false;
    // From the disk: after a write that was lost the page cache may still show what never got there.
    sys.fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return content.hash(fd, stat.sizeBytes)?.equals(ref.digest) ?? false;
  } catch {
    return false;
  } finally {
    sys.close(fd);
  }
}
