import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCompactSweep } from "../support/compact-sweep.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { everyNth, type FaultSweep } from "../support/fault-sweep.ts";

const long = process.env["DEDUPE_TESTS_LONG"] === "1";
/* Long, every third call. */
const kills = long ? Infinity : 5;
const fails = long ? Infinity : 3;
const errnos = long
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
