import { setTimeout as later } from "node:timers/promises";
import { expect, it } from "vitest";
import { startTimeLimit } from "../../src/commands/time-limit.ts";

it("a time limit of more than a timer can wait for does not end at once", async () => {
  let stops = 0;
  const control = {
    stop: (): void => {
      stops++;
    },
  };
  const limits = [20, 600 * 3_600_000, undefined].map((timeLimitMs) =>
    startTimeLimit({ timeLimitMs }, control),
  );
  await later(100);
  for (const limit of limits) clearTimeout(limit);
  expect(stops).toBe(1);
});
