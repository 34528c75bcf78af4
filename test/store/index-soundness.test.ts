import { spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Index } from "../../store/index/index.ts";
import { isSoundAt } from "../../store/index/soundness.ts";
import { RECORD_BYTES, RecordBuffer } from "../../store/record.ts";
import { REF_BYTES } from "../../store/ref.ts";
import { openKernel } from "../support/kernel.ts";
import { isLong } from "../support/long.ts";

const kernel = openKernel();
const seed = isLong ? Date.now() % 2 ** 31 : 110114516;
let work = "";
let state = seed;

/** An integer from 0 to less than `end` (a linear congruential generator, of which the upper bits are good). */
function random(end: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * end);
}

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-index-"));
  state = seed;
});
afterEach(() => {
  rmSync(work, { recursive: true, force: true });
});

/** Rows of so many inodes with numbers below `most`. */
function records(count: number, most: number): Buffer {
  const buffer = new RecordBuffer(kernel.sys, 1);
  const all = Array.from({ length: count }, () => {
    const ino = BigInt(random(most));
    const ref = Buffer.alloc(REF_BYTES);
    ref.writeBigUInt64LE((ino * 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn);
    const times = { sizeBytes: random(2 ** 21), mtimeNs: BigInt(random(2 ** 30)) };
    return Buffer.from(
      buffer
        .clear()
        .append({
          ...{ identity: Buffer.alloc(16, 7), ref, target: { ino, ...times } },
          source: { ino, generation: 1, ctimeNs: 1n, ...times },
        })
        .memory.bytes.subarray(0, RECORD_BYTES),
    );
  });
  return Buffer.concat(all);
}

async function grow(directory: string, sessions: number): Promise<void> {
  for (let session = 0; session < sessions; session++) {
    const index = Index.open(directory, "write");
    for (let commits = random(4); commits >= 0; commits--) index.commit(records(random(600), 5000));
    index.rememberWeighed(index.rowCount);
    if (random(2) === 0) index.forgetWeighed();
    await index.close();
    expect(isSoundAt(kernel, directory)).toBe(true);
  }
}

/** All that a run does with an index, in a process that may die of it. */
const use = `
  const { open } = require(${JSON.stringify(createRequire(import.meta.url).resolve("lmdb"))});
  const options = { keyEncoding: "binary", encoding: "binary", overlappingSync: false, cache: false, commitDelay: 0 };
  const database = open({ path: process.argv[1], noSubdir: false, ...options });
  const keys = [...database.getRange({ start: Buffer.from([0]) })].map(({ key }) => Buffer.from(key));
  for (const key of keys) database.getBinaryFast(key);
  database.transactionSync(() => {
    for (let at = 0; at < 3000; at++) database.putSync(Buffer.from("new" + at * 7919), Buffer.alloc(100, at));
    for (const key of keys.slice(0, 500)) database.putSync(key, Buffer.alloc(80, 1));
  });
  database.close();
`;

describe("an index", () => {
  it("is sound after whatever was entered into it, in any number of runs", async () => {
    await grow(work, isLong ? 200 : 20);
  });

  it("that was damaged is found to be so, or can be used", async () => {
    await grow(work, 6);
    const damaged = join(work, "damaged");
    mkdirSync(damaged);
    const file = join(damaged, "data.mdb");
    const seen = { found: 0, usable: 0 };
    for (let round = 0; round < (isLong ? 400 : 30); round++) {
      copyFileSync(join(work, "data.mdb"), file);
      const bytes = Buffer.from(
        Array.from({ length: 1 + random(round % 3 === 0 ? 8 : 3000) }, () => random(256)),
      );
      const fd = openSync(file, "r+");
      writeSync(fd, bytes, 0, bytes.length, random(statSync(file).size - bytes.length));
      closeSync(fd);
      if (!isSoundAt(kernel, damaged)) {
        seen.found++;
        continue;
      }
      const { signal, stderr } = spawnSync(process.execPath, ["-e", use, damaged], { encoding: "utf8" });
      expect(signal, `round ${round} of seed ${seed}: ${stderr}`).toBeNull();
      seen.usable++;
    }
    expect(seen.found).toBeGreaterThan(5);
    expect(seen.usable).toBeGreaterThan(0);
  });
});
