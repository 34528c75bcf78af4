import { describe, expect, it } from "vitest";
import { chooseSiblings, type Sibling } from "../../src/compact/fold.ts";

const EXT4_LIMIT = 65_000;

/** Siblings with so many links each, of inodes of their own. */
function siblings(...links: number[]): Sibling[] {
  return links.map((count, number) => ({ number, links: count, inoHigh: 0, inoLow: 100 + number }));
}

const dropped = (of: Sibling[], linkLimit: number | undefined): number[] =>
  chooseSiblings(of, linkLimit).dropped.map(({ number }) => number);

describe("siblings", () => {
  it("give way to the largest where their names fit into it", () => {
    expect(dropped(siblings(100, 1000, 2), EXT4_LIMIT)).toEqual([0, 2]);
    expect(chooseSiblings(siblings(100, 1000, 2), EXT4_LIMIT).kept.map(({ number }) => number)).toEqual([1]);
  });

  it("stay where their names would not leave the room that a relink leaves", () => {
    expect(dropped(siblings(40_000, 30_000), EXT4_LIMIT)).toEqual([]);
    expect(dropped(siblings(64_000, 1_000), EXT4_LIMIT)).toEqual([]);
  });

  it("all fit into one where there is no limit", () => {
    expect(dropped(siblings(100_000, 90_000), 0)).toEqual([1]);
  });

  it("stay apart where merging is off, but for names of one inode", () => {
    expect(dropped(siblings(5, 4), undefined)).toEqual([]);
    const [one, two] = siblings(3, 3) as [Sibling, Sibling];
    expect(dropped([one, { ...two, inoLow: one.inoLow }], undefined)).toEqual([1]);
  });
});
