import { expect, it } from "vitest";
import { SeenInodes } from "../../src/stats/seen-inodes.ts";

it("knows what was added, of every device and number", () => {
  const seen = new SeenInodes();
  const keys: [number, number, number][] = [];
  for (let at = 0; at < 2000; at++) keys.push([at % 3, at % 5, (at * 7_919_993) >>> 0], [1, 0, at]);
  for (const key of keys) seen.add(...key);
  expect(keys.filter((key) => !seen.has(...key))).toEqual([]);
  expect(seen.has(9, 0, 0)).toBe(false);
  expect(seen.has(1, 0, 2000)).toBe(false);
  expect(seen.has(1, 1, 0)).toBe(false);
});

it("forgets rather than grows, and never knows what was not added", () => {
  const seen = new SeenInodes(16);
  let known = 0;
  for (let at = 0; at < 1000; at++) {
    expect(seen.has(1, 0, at * 512)).toBe(false);
    seen.add(1, 0, at * 512);
    expect(seen.has(1, 0, at * 512)).toBe(true);
  }
  for (let at = 0; at < 1000; at++) if (seen.has(1, 0, at * 512)) known++;
  expect(known).toBeGreaterThan(0);
  expect(known).toBeLessThanOrEqual(16);
});
