import { expect, test } from "vitest";
import { InodeSet } from "../../src/verify/inode-set.ts";

test("has what was added and nothing else, in dense and in scattered numbers", () => {
  const set = new InodeSet();
  const numbers = Array.from({ length: 20_000 }, (_, index): [number, number] =>
    index % 2 === 0 ? [index * 3, 0] : [Math.imul(index, 0x85ebca6b) >>> 0, index % 7],
  );
  for (const [low, high] of numbers) expect(set.add(low, high)).toBe(true);
  for (const [low, high] of numbers) expect(set.add(low, high)).toBe(false);
  const shared = new InodeSet(set.shared);
  for (const [low, high] of numbers) expect(shared.has(low, high)).toBe(true);
  for (let index = 0; index < 20_000; index += 2) expect(shared.has(index * 3 + 1, 0)).toBe(false);
  expect(shared.has(0, 0xffffffff)).toBe(false);
  expect(set.add(0xffffffff, 0xffffffff)).toBe(true);
  expect(set.has(0xffffffff, 0xffffffff)).toBe(true);
});
