import { expect, test } from "vitest";
import { timeText } from "../../src/verify/compare.ts";
import { blocksLost, type HoleRange } from "../../src/verify/content-reader.ts";
import { heldTime, isNearLimit, type Limits } from "../../src/verify/limits.ts";

const whole: Limits = {
  granularityNs: 1_000_000_000n,
  earliestSeconds: -(2n ** 31n),
  latestSeconds: 2n ** 31n - 1n,
  links: 65_000,
};

test("holds times as the kernel does: clamped, and rounded down before 1970 too", () => {
  expect(heldTime(1_500_000_000n, whole)).toBe(1_000_000_000n);
  expect(heldTime(-1n, whole)).toBe(-1_000_000_000n);
  expect(heldTime(-(2n ** 40n) * 1_000_000_000n, whole)).toBe(-(2n ** 31n) * 1_000_000_000n);
  expect(heldTime(2n ** 31n * 1_000_000_000n + 5n, whole)).toBe((2n ** 31n - 1n) * 1_000_000_000n);
  expect(heldTime(-1n, { ...whole, granularityNs: 1n, earliestSeconds: undefined })).toBe(-1n);
});

test("shows times with all nine digits", () => {
  expect(timeText(1_700_000_000_000_000_001n)).toBe("1700000000.000000001");
  expect(timeText(-1n)).toBe("-0.000000001");
  expect(timeText(0n)).toBe("0.000000000");
});

test("calls an inode full from half of the limit on, and never where there is none", () => {
  expect(isNearLimit(65_000, whole)).toBe(true);
  expect(isNearLimit(32_500, whole)).toBe(true);
  expect(isNearLimit(30_000, whole)).toBe(false);
  expect(isNearLimit(1_000_000, { ...whole, links: 0 })).toBe(false);
});

test("counts the blocks of holes that are no holes any more, as counting one by one does", () => {
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const ranges = (): HoleRange[] => {
    const found: HoleRange[] = [];
    for (let at = random(5); at < 60; at += random(6) + 1) {
      const after = at + random(8) + 1;
      found.push([at, after]);
      at = after;
    }
    return found;
  };
  const blocks = (list: HoleRange[]): Set<number> =>
    new Set(
      list.flatMap(([first, after]) => Array.from({ length: after - first }, (_, index) => first + index)),
    );
  for (let round = 0; round < 500; round++) {
    const [wanted, present] = [ranges(), ranges()];
    const there = blocks(present);
    const lost = [...blocks(wanted)].filter((block) => !there.has(block)).length;
    expect(blocksLost(wanted, present)).toBe(lost);
  }
});
