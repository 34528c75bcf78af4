import { describe, expect, it } from "vitest";
import { zeroCounters } from "../../src/report/events.ts";
import { Control, SharedCounters } from "../../src/work/control.ts";

describe("the words that threads share", () => {
  it("grant as many wishes as there are", () => {
    const memory = Control.allocate();
    const [main, worker] = [new Control(memory), new Control(memory)];
    expect(worker.takeWish()).toBe(false);
    main.setWanted(2);
    expect([1, 2, 3, 4].map(() => worker.takeWish())).toEqual([true, true, false, false]);
    main.setWanted(1);
    expect([worker.takeWish(), worker.takeWish()]).toEqual([true, false]);
  });

  it("stop all and number all", () => {
    const memory = Control.allocate();
    const [one, two] = [new Control(memory), new Control(memory)];
    expect(two.isStopped).toBe(false);
    one.stop();
    expect(two.isStopped).toBe(true);
    expect([one.nextSerial(), two.nextSerial(), one.nextSerial()]).toEqual([0, 1, 2]);
  });

  it("let bytes through at the rate that was asked for, counted over all threads", () => {
    const memory = Control.allocate();
    const threads = [new Control(memory), new Control(memory)];
    const started = performance.now();
    for (let at = 0; at < 11; at++) threads[at % 2]!.pace(10_000, 200_000);
    const tookMs = performance.now() - started;
    expect(tookMs).toBeGreaterThan(480);
    expect(tookMs).toBeLessThan(800);
  });
});

describe("shared counters", () => {
  it("are the sum of all rows, and zeroed where they were handed over", () => {
    const memory = SharedCounters.allocate(3);
    const counters = new SharedCounters(memory);
    for (let row = 0; row < 3; row++) {
      for (let round = 0; round < 2; round++) {
        const own = { ...zeroCounters(), names: row + 1, readBytes: 2 ** 50 };
        new SharedCounters(memory).flush(row, own);
        expect(own).toEqual(zeroCounters());
      }
    }
    expect(counters.sum()).toEqual({ ...zeroCounters(), names: 12, readBytes: 6 * 2 ** 50 });
  });
});
