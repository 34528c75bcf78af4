import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MetInodes } from "../../store/met-inodes.ts";

const key = (device: number, ino: number) => ({
  device,
  inoLow: ino % 2 ** 32,
  inoHigh: Math.floor(ino / 2 ** 32),
});

describe("inodes met", () => {
  it("are each new once, for all threads that share the memory", () => {
    const numbers = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.maxSafeNat()), { maxLength: 300 });
    fc.assert(
      fc.property(numbers, (pairs) => {
        const memory = MetInodes.allocate();
        const threads = [new MetInodes(memory), new MetInodes(memory)] as const;
        const seen = new Set<string>();
        for (const [at, [device, ino]] of [...pairs, ...pairs].entries()) {
          expect(threads[at & 1]!.add(key(device, ino))).toBe(!seen.has(`${device} ${ino}`));
          seen.add(`${device} ${ino}`);
        }
      }),
      { numRuns: 20 },
    );
  });

  it("are told apart by device and by the upper half of their numbers", () => {
    const met = new MetInodes(MetInodes.allocate());
    for (const each of [key(1, 5), key(2, 5), key(1, 5 + 2 ** 32), key(0xfff00001, 5)])
      expect(met.add(each)).toBe(true);
    for (const each of [key(1, 5), key(2, 5), key(1, 5 + 2 ** 32), key(0xfff00001, 5)])
      expect(met.add(each)).toBe(false);
  });

  it("are exact for millions of neighbours, and say so when there are too many strangers", () => {
    const met = new MetInodes(MetInodes.allocate());
    let fresh = 0;
    for (let ino = 1; ino <= 2_000_000; ino++) if (met.add(key(7, ino))) fresh++;
    expect({ fresh, isFull: met.isFull }).toEqual({ fresh: 2_000_000, isFull: false });
    for (let far = 1; far <= 100_000; far++) met.add(key(7, far * 2 ** 20));
    expect(met.isFull).toBe(true);
    expect(met.add(key(7, 1))).toBe(false);
  });
});
