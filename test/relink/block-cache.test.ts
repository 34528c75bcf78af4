import fc from "fast-check";
import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BlockCache } from "../../src/relink/block-cache.ts";
import { openKernel } from "../support/kernel.ts";

const { sys } = openKernel();
const FILE_BYTES = 100_000;
const content = Buffer.from(
  Uint8Array.from({ length: FILE_BYTES }, (_, at) => Math.imul(at, 0x9e3779b1) >>> 24),
);
let work = "";
let file = "";

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-blocks-"));
  file = join(work, "stock");
  writeFileSync(file, content);
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

const range = fc
  .tuple(fc.nat(FILE_BYTES), fc.oneof(fc.nat(300), fc.nat(5_000)))
  .filter(([position, sizeBytes]) => position + sizeBytes <= FILE_BYTES);

describe("a block cache", () => {
  it("reads what the file has, across blocks and with any number of them kept", () => {
    const fd = openSync(file, "r");
    fc.assert(
      fc.property(fc.array(range, { maxLength: 40 }), fc.nat(60_000), (ranges, keptBytes) => {
        const cache = new BlockCache(sys, fd, keptBytes);
        for (const [position, sizeBytes] of ranges)
          expect(cache.read(position, sizeBytes)).toEqual(content.subarray(position, position + sizeBytes));
      }),
    );
  });

  it("copies words as it reads bytes", () => {
    const fd = openSync(file, "r");
    const cache = new BlockCache(sys, fd, 20_000);
    const place = fc.tuple(fc.nat(FILE_BYTES / 4), fc.nat(256));
    fc.assert(
      fc.property(place, ([word, count]) => {
        fc.pre((word + count) * 4 <= FILE_BYTES);
        const words = new Uint32Array(count);
        cache.copyWords(word * 4, words);
        expect(Buffer.from(words.buffer)).toEqual(content.subarray(word * 4, (word + count) * 4));
      }),
    );
  });

  it("reads from memory what it keeps, and anew what it was told to forget", () => {
    const changing = join(work, "changing");
    writeFileSync(changing, "before");
    const cache = new BlockCache(sys, openSync(changing, "r"), 20_000);
    expect(cache.read(1, 5).toString()).toBe("efore");
    writeFileSync(changing, "after!");
    expect(cache.read(0, 6).toString()).toBe("before");
    cache.forget();
    expect(cache.read(0, 6).toString()).toBe("after!");
  });

  it("sees what was appended, and refuses what is beyond the end", () => {
    const growing = join(work, "growing");
    writeFileSync(growing, "short");
    const cache = new BlockCache(sys, openSync(growing, "r"), 20_000);
    expect(() => cache.read(0, 9)).toThrow("the stock ends");
    writeFileSync(growing, "short, longer");
    expect(cache.read(0, 9).toString()).toBe("short, lo");
  });
});
