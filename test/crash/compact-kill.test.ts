import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compactWell, mismatches } from "../support/compact.ts";
import { openCompactSweep } from "../support/compact-sweep.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { everyNth, type FaultSweep } from "../support/fault-sweep.ts";
import { migrate } from "../support/dedupe.ts";
import { compact } from "../support/faulty-run.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { isLong } from "../support/long.ts";

/* Long, every third call. */
const kills = isLong ? Infinity : 5;
const fails = isLong ? Infinity : 3;
const errnos = isLong
  ? (["EIO", "ENOSPC", "EMLINK", "EPERM", "EACCES", "ENOENT"] as const)
  : (["EIO"] as const);

describe.skipIf(!requireFilesystem("ext4"))("a compact", () => {
  let sweep: FaultSweep;
  beforeAll(async () => {
    sweep = await openCompactSweep();
  });
  afterAll(() => {
    sweep.close();
  });

  const faultsAt = (most: number): number[] => {
    const stride = Math.max(3, Math.ceil(sweep.calls / most));
    return everyNth(sweep.calls, stride, Math.ceil(stride / 2));
  };

  it(
    "killed at call N leaves every name as it was, and the next run finishes and tells of the edit",
    { timeout: 7_200_000 },
    async () => {
      expect(await sweep.run(faultsAt(kills).map((at) => ({ at, errno: "KILL" }) as const))).toEqual([]);
    },
  );

  it.each(errnos)(
    "whose call N fails with %s loses nothing, and the next run finishes",
    { timeout: 7_200_000 },
    async (errno) => {
      expect(await sweep.run(faultsAt(fails).map((at) => ({ at, errno })))).toEqual([]);
    },
  );
});

describe("a compact killed after its first removal", () => {
  useFolders();

  it("lets the next one look at each row of the index", async () => {
    makeSmallRoot(source, "monday");
    migrate(source, target);
    compactWell(target);
    for (const day of ["daily.0", "daily.1"]) rmSync(join(target, day), { recursive: true });
    const rules = [
      { calls: ["unlinkat"], path: "/objects", at: 3, action: { type: "kill", when: "after" } } as const,
    ];
    const args = ["-j", "1", "--priority", "normal", "--steps", "prune"];
    expect((await compact(target, { args, plan: { rules } })).code).toBe(null);
    expect((await compact(target, { args })).code).toBe(0);
    const { summary } = compactWell(target);
    expect([summary.prune.objects, summary.index.droppedRows > 0]).toEqual([0, true]);
    expect(mismatches(target)).toEqual([]);
  });
});
