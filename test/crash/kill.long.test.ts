import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { everyNth } from "../support/fault-sweep.ts";
import { openSweep, type Sweep } from "../support/sweep.ts";

describe.skipIf(!requireFilesystem("ext4")).each([
  { kind: "first", jobs: 1 },
  { kind: "first", jobs: 2 },
  { kind: "update", jobs: 1 },
] as const)("a $kind run with $jobs threads killed at any call", ({ kind, jobs }) => {
  let sweep: Sweep;
  beforeAll(async () => {
    sweep = await openSweep(kind, jobs);
  });
  afterAll(() => {
    sweep.close();
  });

  it("is finished exactly by the next one", { timeout: 3_600_000 }, async () => {
    const faults = everyNth(sweep.calls, 1).map((at) => ({ at, errno: "KILL" }) as const);
    expect(await sweep.run(faults)).toEqual([]);
    expect(sweep.sourceChanges()).toEqual([]);
  });
});
