import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_CREAT, O_EXCL, O_WRONLY } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { readFile, writeAll, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { REF_BYTES, REF_WORDS, blake3, openHasher } from "../../store/store.ts";
import type { BatchView } from "./batch-memory.ts";
import { DIRECTORY_ROW, DONE, NAME_ROW, TARGET_ROW, VICTIM_ROW } from "./batch-memory.ts";
import { BytesReader, GrowingBytes } from "./growing-bytes.ts";
import { CTIME, INO_HIGH } from "./layout.ts";

const LOG_NAME = "relink";
const MAGIC = Buffer.from("ddb1");
const DIGEST_BYTES = 32;
const HEAD_BYTES = MAGIC.length + DIGEST_BYTES;
/** A log is written in parts of at least this size, a directory never in two. */
const PART_BYTES = 1 << 20;

/** An inode number as its two words. */
export type InoWords = readonly [high: number, low: number];
/** `victim` is the state that its inode must have had. */
export type LoggedName = { name: Buffer; victim: Uint32Array; target: InoWords; ref: Buffer };
export type LoggedDirectory = {
  path: Buffer;
  ino: InoWords;
  /** Three words, as in the batch. */
  mtime: Uint32Array;
  print: { high: number; low: number };
  names: LoggedName[];
};

/** `tag` is part of the temporary names of its batch; `writtenNs`: before its first exchange. */
export type BatchLog = { tag: string; writtenNs: bigint; directories: LoggedDirectory[] };

export type PathSource = { pathOf(id: number): Buffer };

/**
 * What a batch is about to do, directory by directory, as the body of a log; each row learns where in it its names are.
 * A part is valid until the next is asked for.
 */
export function* encodeBatch(batch: BatchView, directories: PathSource): Generator<Buffer> {
  const out = new GrowingBytes();
  let logged = 0;
  out.words(batch.preparedCount);
  for (let index = 0; index < batch.directoryCount; index++) {
    const row = batch.directory(index);
    if (row[DIRECTORY_ROW.state] !== DONE) continue;
    const [first = 0, names = 0] = row.subarray(DIRECTORY_ROW.firstName);
    row[DIRECTORY_ROW.logged] = logged;
    logged += names;
    out.bytes(directories.pathOf(row[DIRECTORY_ROW.id] as number));
    out.row(row, DIRECTORY_ROW.inoHigh, DIRECTORY_ROW.state - DIRECTORY_ROW.inoHigh);
    out.words(names);
    for (let at = first; at < first + names; at++) encodeName(out, batch, batch.name(at));
    if (out.length < PART_BYTES) continue;
    yield out.whole;
    out.clear();
  }
  yield out.whole;
}

function encodeName(out: GrowingBytes, batch: BatchView, name: Uint32Array): void {
  const target = batch.target(name[NAME_ROW.target] as number);
  out.bytes(batch.bytesOf(name, NAME_ROW.text));
  out.row(batch.victim(name[NAME_ROW.victim] as number), VICTIM_ROW.state, CTIME);
  out.row(target, TARGET_ROW.inode + INO_HIGH, 2);
  out.row(target, TARGET_ROW.ref, REF_WORDS);
}

/** The body of a log of directories that are known by their paths. */
export function encodeDirectories(directories: readonly LoggedDirectory[]): Buffer[] {
  const out = new GrowingBytes();
  out.words(directories.length);
  for (const { path, ino, mtime, print, names } of directories) {
    out.bytes(path);
    out.words(...ino, ...mtime, print.high, print.low, names.length);
    for (const { name, victim, target, ref } of names) {
      out.bytes(name);
      out.row(victim, 0, CTIME);
      out.words(...target);
      out.raw(ref);
    }
  }
  return [out.whole];
}

/** Tells this log from every other one. */
const tagOf = (digest: Buffer): string => digest.toString("hex", 0, 8);

/**
 * What a killed run leaves to the next one, from the parts of its body; durable with the batch's syncfs.
 * @returns its tag. @throws SysError
 */
export function writeBatchLog({ sys, scratch }: Kernel, logFd: number, parts: Iterable<Buffer>): string {
  const hasher = openHasher();
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = check(sys.openat(logFd, scratch.text(LOG_NAME), flags, 0o600), "openat", LOG_NAME);
  try {
    // Until its digest is there it is one that is torn.
    writeAll(sys, fd, Buffer.alloc(HEAD_BYTES));
    for (const part of parts) {
      hasher.update(part);
      writeAll(sys, fd, part);
    }
    const digest = hasher.finish();
    writeAll(sys, fd, Buffer.concat([MAGIC, digest]), 0);
    return tagOf(digest);
  } finally {
    sys.close(fd);
  }
}

export function forgetBatchLog({ sys, scratch }: Kernel, logFd: number): void {
  const result = sys.unlinkat(logFd, scratch.text(LOG_NAME), 0);
  if (result !== -errno.ENOENT) check(result, "unlinkat", LOG_NAME);
}

/** What the log of a killed run says. One that is torn was not durable yet, so that nothing was changed after it. */
export function readBatchLog(kernel: Kernel, logFd: number): BatchLog {
  const none = { tag: "", writtenNs: 0n, directories: [] };
  const content = readFile(kernel, logFd, LOG_NAME);
  if (content === undefined || content.length < HEAD_BYTES) return none;
  const [body, digest] = [content.subarray(HEAD_BYTES), content.subarray(MAGIC.length, HEAD_BYTES)];
  if (!content.subarray(0, MAGIC.length).equals(MAGIC)) return none;
  if (!blake3(body).equals(digest)) return none;
  const stat = new Stat(kernel.sys);
  const name = kernel.scratch.text(LOG_NAME);
  check(kernel.sys.statx(logFd, name, AT_SYMLINK_NOFOLLOW, stat.address), "statx", LOG_NAME);
  return { tag: tagOf(digest), writtenNs: stat.mtimeNs, directories: decode(body) };
}

function decode(body: Buffer): LoggedDirectory[] {
  const from = new BytesReader(body);
  const ino = (): InoWords => [from.word(), from.word()];
  const name = (): LoggedName => ({
    name: from.bytes(),
    victim: from.words(CTIME),
    target: ino(),
    ref: from.bytes(REF_BYTES),
  });
  return Array.from({ length: from.word() }, () => ({
    path: from.bytes(),
    ino: ino(),
    mtime: from.words(3),
    print: { high: from.word(), low: from.word() },
    names: Array.from({ length: from.word() }, name),
  }));
}
