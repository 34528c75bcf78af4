import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  encodeDirectories,
  readBatchLog,
  writeBatchLog,
  type LoggedDirectory,
} from "../../src/relink/batch-log.ts";
import { CTIME } from "../../src/relink/layout.ts";
import { REF_BYTES } from "../../store/store.ts";
import { openKernel } from "../support/kernel.ts";

const kernel = openKernel();
let folder = "";
let logFd = -1;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dedupe-log-"));
  logFd = openSync(folder, "r");
});
afterEach(() => {
  closeSync(logFd);
  rmSync(folder, { recursive: true });
});

/** Some 200 bytes a name. */
const directoryOf = (number: number, names: number): LoggedDirectory => ({
  path: Buffer.from(`daily.0/directory ${number}`),
  ino: [number, 4_000_000_000],
  mtime: Uint32Array.of(0, 1_700_000_000, number),
  print: { high: number, low: 7 },
  names: Array.from({ length: names }, (_, index) => ({
    name: Buffer.from(`${"x".repeat(100)} ${index}`),
    victim: Uint32Array.from({ length: CTIME }, (_, word) => index * 16 + word),
    target: [0, index] as const,
    ref: Buffer.alloc(REF_BYTES, index),
  })),
});

describe("the log of a batch", () => {
  const directories = [directoryOf(1, 3), directoryOf(2, 12_000), directoryOf(3, 0), directoryOf(4, 2)];

  it("comes back as it was written, in parts of any size", () => {
    const [body] = encodeDirectories(directories) as [Buffer];
    expect(body.length).toBeGreaterThan(2 << 20);
    const tags = [[body], [body.subarray(0, 5), body.subarray(5)]].map((parts) => {
      const tag = writeBatchLog(kernel, logFd, parts);
      const read = readBatchLog(kernel, logFd);
      expect(read.tag).toBe(tag);
      expect(encodeDirectories(read.directories)[0]?.equals(body)).toBe(true);
      expect(read.directories[0]).toEqual(directories[0]);
      rmSync(join(folder, "relink"));
      return tag;
    });
    expect(tags[0]).toBe(tags[1]);
  });

  it("is none where a part of it is missing, or its head is not there yet", () => {
    writeBatchLog(kernel, logFd, encodeDirectories(directories));
    const file = join(folder, "relink");
    const whole = readFileSync(file);
    const headless = Buffer.concat([Buffer.alloc(36), whole.subarray(36)]);
    for (const torn of [whole.subarray(0, -1), whole.subarray(0, 36), whole.subarray(0, 9), headless]) {
      writeFileSync(file, torn);
      expect(readBatchLog(kernel, logFd)).toMatchObject({ tag: "", directories: [] });
    }
  });
});
