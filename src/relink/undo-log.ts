import { O_CLOEXEC, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { readAt, writeAll, type Kernel } from "../sys/files.ts";
import { REF_BYTES, STORE_NAME, blake3, variantOf } from "../../store/store.ts";
import type { Xattr } from "../tree/attributes.ts";
import { Listing } from "../tree/listing.ts";
import { BytesReader, GrowingBytes } from "./growing-bytes.ts";
import { CTIME } from "./layout.ts";

const MAGIC = Buffer.from("ddu2");
/** Records without the place of their snapshot. */
const OLD_MAGIC = Buffer.from("ddu1");
const HEAD_BYTES = MAGIC.length + 32 + 4;
/** A block is written when so much is together. */
const BLOCK_BYTES = 1 << 20;
const NAME = /^undo\.(\d+)\.\d+$/;
/** In place of the number of xattrs: they were compared, so that both inodes had the same. */
const SAME_XATTRS = 0xffffffff;
const NO_TOP = 0xffffffff;

export type Top = { length: number; inoHigh: number; inoLow: number };

/** What a name had before `--ignore-*` took it away. `victim` and `target` are the words of a state up to its ctime. */
export type Discarded = {
  /** From the root. */
  path: Buffer;
  /** What the path begins with that may be renamed since, as snapshots are: its length, and its directory's inode. */
  top: Top | undefined;
  /** The state of the inode that the name had, and of the one that it was to get. */
  victim: Uint32Array;
  target: Uint32Array;
  /** The object that the target is. */
  ref: Uint8Array;
  /** undefined: those of the target. */
  xattrs: readonly Xattr[] | undefined;
};

/** A file of the log. Of two with the same name the one with the higher `serial` was written later. */
export type UndoFile = { name: string; serial: number };

/** Writes down what is about to be discarded: a file for each batch and thread, durable with the batch's syncfs. */
export class UndoWriter {
  readonly #kernel: Kernel;
  readonly #logFd: number;
  readonly #worker: number;
  readonly #block = new GrowingBytes();
  #serial = -1;
  #fd = -1;

  constructor(kernel: Kernel, logFd: number, worker: number) {
    this.#kernel = kernel;
    this.#logFd = logFd;
    this.#worker = worker;
  }

  /** @throws SysError: then the name must stay as it is */
  append(serial: number, discarded: Discarded): void {
    this.#open(serial);
    encode(this.#block, discarded);
    if (this.#block.length >= BLOCK_BYTES) this.flush();
  }

  #open(serial: number): void {
    if (serial === this.#serial) return;
    this.close();
    const { sys, scratch } = this.#kernel;
    const name = `undo.${String(serial)}.${String(this.#worker)}`;
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
    this.#fd = check(sys.openat(this.#logFd, scratch.text(name), flags, 0o600), "openat", name);
    this.#serial = serial;
  }

  /** All of it is in the file; to be called before the batch is sealed. @throws SysError */
  flush(): void {
    if (this.#block.length === 0) return;
    const body = this.#block.whole;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(body.length);
    writeAll(this.#kernel.sys, this.#fd, Buffer.concat([MAGIC, blake3(body), length, body]));
    this.#block.clear();
  }

  close(): void {
    this.flush();
    if (this.#fd >= 0) this.#kernel.sys.close(this.#fd);
    this.#fd = -1;
    this.#serial = -1;
  }
}

/** The files of the log, oldest first. @throws SysError */
export function undoFiles({ sys }: Kernel, logFd: number): UndoFile[] {
  const listing = new Listing(sys);
  const found: UndoFile[] = [];
  if (logFd < 0) return found;
  sys.lseek(logFd, 0, 0);
  while (check(listing.read(logFd), "getdents64", `${STORE_NAME}/log`) > 0)
    while (listing.next()) {
      const name = listing.copyName().toString("latin1");
      const serial = NAME.exec(name)?.[1];
      if (serial !== undefined) found.push({ name, serial: Number(serial) });
    }
  return found.sort((a, b) => a.serial - b.serial || (a.name < b.name ? -1 : 1));
}

/** All of it was put back. @throws SysError */
export function forgetUndoLog(kernel: Kernel, logFd: number): void {
  const { sys, scratch } = kernel;
  for (const { name } of undoFiles(kernel, logFd))
    check(sys.unlinkat(logFd, scratch.text(name), 0), "unlinkat", name);
}

/** An open file of the log; a block that is torn was not durable, so that nothing was changed after it. */
export class UndoReader {
  readonly #kernel: Kernel;
  readonly #fd: number;

  /** @throws SysError */
  constructor(kernel: Kernel, logFd: number, { name }: UndoFile) {
    const { sys, scratch } = kernel;
    this.#kernel = kernel;
    const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW;
    this.#fd = check(sys.openat(logFd, scratch.text(name), flags, 0), "openat", name);
  }

  /** Each record with where it lies. */
  *records(): Generator<{ record: Discarded; offset: number; length: number; isOld: boolean }> {
    for (let at = 0; ;) {
      const head = readAt(this.#kernel, this.#fd, at, HEAD_BYTES);
      const magic = head.subarray(0, MAGIC.length);
      if (head.length < HEAD_BYTES || !(magic.equals(MAGIC) || magic.equals(OLD_MAGIC))) return;
      const isOld = magic.equals(OLD_MAGIC);
      const body = readAt(this.#kernel, this.#fd, at + HEAD_BYTES, head.readUInt32LE(HEAD_BYTES - 4));
      if (!blake3(body).equals(head.subarray(MAGIC.length, HEAD_BYTES - 4))) return;
      const from = new BytesReader(body);
      while (!from.isAtEnd) {
        const begin = from.position;
        const record = decode(from, isOld);
        yield { record, offset: at + HEAD_BYTES + begin, length: from.position - begin, isOld };
      }
      at += HEAD_BYTES + body.length;
    }
  }

  at(offset: number, length: number, isOld: boolean): Discarded {
    return decode(new BytesReader(readAt(this.#kernel, this.#fd, offset, length)), isOld);
  }

  close(): void {
    this.#kernel.sys.close(this.#fd);
  }
}

function encode(out: GrowingBytes, { path, top, victim, target, ref, xattrs }: Discarded): void {
  out.bytes(path);
  out.words(top?.length ?? NO_TOP, top?.inoHigh ?? 0, top?.inoLow ?? 0);
  out.words(...victim.subarray(0, CTIME), ...target.subarray(0, CTIME));
  out.bytes(ref);
  out.words(xattrs === undefined ? SAME_XATTRS : xattrs.length);
  for (const { name, value } of xattrs ?? []) {
    out.bytes(name);
    out.bytes(value);
  }
}

function decode(from: BytesReader, isOld: boolean): Discarded {
  const path = from.bytes();
  const top = isOld ? undefined : topFrom(from);
  const victim = from.words(CTIME);
  const target = from.words(CTIME);
  const ref = from.bytes();
  if (ref.length !== REF_BYTES) throw new Error("a record of the undo log is no record");
  const count = from.word();
  const xattrs =
    count === SAME_XATTRS
      ? undefined
      : Array.from({ length: count }, () => ({ name: from.bytes(), value: from.bytes() }));
  return { path, top, victim, target, ref, xattrs };
}

function topFrom(from: BytesReader): Top | undefined {
  const top = { length: from.word(), inoHigh: from.word(), inoLow: from.word() };
  return top.length === NO_TOP ? undefined : top;
}

/** Stands for a set of xattrs where they are not compared: two words, zero for none. */
export function xattrMark(xattrs: readonly Xattr[]): Uint32Array {
  if (xattrs.length === 0) return new Uint32Array(2);
  const whole = variantOf({ mode: undefined, owner: undefined, mtimeNs: undefined, xattrs });
  return Uint32Array.of(whole.readUInt32LE(0), whole.readUInt32LE(4));
}
