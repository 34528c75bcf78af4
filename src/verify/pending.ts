import { randomBytes } from "node:crypto";
import { O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR } from "../sys/constants.ts";
import { check, isSysError } from "../sys/errors.ts";
import { openRoot, readAt, type Kernel } from "../sys/files.ts";
import type { Finding } from "./messages.ts";

/** Findings in memory; those that come later go to a temporary file. */
const MOST_HELD = 50_000;
const BLOCK_BYTES = 1 << 18;

/** Findings that wait for the end of the run, in flat memory. */
export class PendingFindings {
  readonly #kernel: Kernel;
  readonly #directory: string;
  readonly #mostHeld: number;
  readonly #held: Finding[] = [];
  #lines: string[] = [];
  #lineBytes = 0;
  #fd = -1;
  #sizeBytes = 0;

  /** @param directory where a temporary file may be made, of which nothing outlives the run */
  constructor(kernel: Kernel, directory: string, mostHeld = MOST_HELD) {
    this.#kernel = kernel;
    this.#directory = directory;
    this.#mostHeld = mostHeld;
  }

  /** @returns false: there is no room for it */
  add(finding: Finding): boolean {
    if (this.#held.length < this.#mostHeld) {
      this.#held.push(finding);
      return true;
    }
    const line = JSON.stringify({ ...finding, path: finding.path.toString("base64") });
    this.#lines.push(line);
    this.#lineBytes += line.length;
    if (this.#lineBytes < BLOCK_BYTES) return true;
    try {
      this.#write();
      return true;
    } catch (error) {
      if (!isSysError(error)) throw error;
      this.#lineBytes -= line.length;
      this.#lines.pop();
      return false;
    }
  }

  #write(): void {
    if (this.#fd < 0) this.#fd = this.#open();
    const { sys } = this.#kernel;
    const block = Buffer.from(this.#lines.map((line) => `${line}\n`).join(""));
    const memory = sys.allocate(block.length);
    memory.bytes.set(block);
    // What a failed write leaves lies beyond the size, and is written over.
    for (let at = 0; at < block.length;)
      at += check(
        sys.pwrite(this.#fd, memory.address + at, block.length - at, this.#sizeBytes + at),
        "write",
      );
    this.#sizeBytes += block.length;
    this.#lines = [];
    this.#lineBytes = 0;
  }

  #open(): number {
    const { sys, scratch } = this.#kernel;
    const directory = openRoot(this.#kernel, this.#directory);
    try {
      const name = `dedupe-verify-${randomBytes(8).toString("hex")}`;
      const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
      const fd = check(sys.openat(directory, scratch.text(name), flags, 0o600), "openat", name);
      sys.unlinkat(directory, scratch.text(name), 0);
      return fd;
    } finally {
      sys.close(directory);
    }
  }

  /** In the order in which they came. @throws SysError */
  *all(): Generator<Finding> {
    yield* this.#held;
    for (const line of this.#written()) yield parse(line);
    for (const line of this.#lines) yield parse(line);
  }

  *#written(): Generator<string> {
    let rest = Buffer.alloc(0);
    for (let at = 0; at < this.#sizeBytes;) {
      const block = readAt(this.#kernel, this.#fd, at, Math.min(BLOCK_BYTES, this.#sizeBytes - at));
      if (block.length === 0) throw new Error("the file of findings that wait is cut short");
      at += block.length;
      rest = Buffer.concat([rest, block]);
      for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
        yield rest.toString("utf8", 0, end);
        rest = rest.subarray(end + 1);
      }
    }
  }

  close(): void {
    if (this.#fd >= 0) this.#kernel.sys.close(this.#fd);
    this.#fd = -1;
  }
}

function parse(line: string): Finding {
  const finding = JSON.parse(line) as Finding & { path: unknown };
  return { ...finding, path: Buffer.from(String(finding.path), "base64") };
}
