import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DT_DIR, DT_REG } from "../../src/sys/constants.ts";
import { Listing } from "../../src/tree/listing.ts";
import { ProcPaths } from "../../src/tree/proc-paths.ts";
import { openFolder, openKernel } from "../support/kernel.ts";

const { sys } = openKernel();
/** Several times what one getdents64 returns. */
const NAMES = 2000;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "listing-"));
  for (let index = 0; index < NAMES; index++)
    writeFileSync(join(folder, `${String(index)}-${"x".repeat(100)}`), "");
  mkdirSync(join(folder, "a"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function wholeListing(): { listing: Listing; positions: number[] } {
  const listing = new Listing(sys);
  expect(listing.readWhole(openFolder(folder))).toBeGreaterThan(3 * 65_536);
  const positions: number[] = [];
  while (listing.next()) positions.push(listing.position);
  return { listing, positions };
}

describe("a listing of a whole directory", () => {
  it("has each name once, with its inode and type, wherever it is moved to", () => {
    const { listing, positions } = wholeListing();
    const found = positions.reverse().map((position) => {
      listing.position = position;
      const name = listing.copyName().toString();
      const { ino } = lstatSync(join(folder, name), { bigint: true });
      expect([BigInt(listing.inoHigh), BigInt(listing.inoLow)]).toEqual([ino >> 32n, ino & 0xffffffffn]);
      expect(listing.type).toBe(name === "a" ? DT_DIR : DT_REG);
      return name;
    });
    expect(found.sort()).toEqual(readdirSync(folder).sort());
  });

  it("puts positions into the order of inodes", () => {
    const { listing, positions } = wholeListing();
    const inodes = positions
      .sort((a, b) => listing.compareInodes(a, b))
      .map((position) => {
        listing.position = position;
        return BigInt(listing.inoHigh) * 2n ** 32n + BigInt(listing.inoLow);
      });
    expect(inodes).toEqual([...inodes].sort((a, b) => (a < b ? -1 : 1)));
  });

  it("says what is wrong with a directory that cannot be read", () => {
    expect(new Listing(sys).readWhole(-1)).toBe(-9);
  });

  it("can be read a second time, and then a smaller one", () => {
    const { listing, positions } = wholeListing();
    expect(listing.readWhole(openFolder(folder))).toBeGreaterThan(0);
    let count = 0;
    while (listing.next()) count++;
    expect(count).toBe(positions.length);
    listing.readWhole(openFolder(join(folder, "a")));
    expect(listing.next()).toBe(false);
  });
});

it("a path below /proc leads to each name of a directory, long ones and short ones", () => {
  const { listing, positions } = wholeListing();
  const fd = openFolder(folder);
  const paths = new ProcPaths();
  paths.enter(fd);
  for (const position of positions) {
    listing.position = position;
    const { ino } = lstatSync(paths.pathOf(listing).toString(), { bigint: true });
    expect(ino & 0xffffffffn).toBe(BigInt(listing.inoLow));
  }
});
