import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { openRelinkSweep } from "../support/relink-sweep.ts";
import { everyNth, type FaultSweep } from "../support/fault-sweep.ts";
import { isLong } from "../support/long.ts";

/* Long, every call. */
const most = isLong ? Infinity : 9;
const errnos = isLong
  ? (["EIO", "ENOSPC", "EMLINK", "EXDEV", "EPERM", "EACCES", "ENOENT"] as const)
  : (["EIO"] as const);

describe.skipIf(!requireFilesystem("ext4"))("a relink", () => {
  let sweep: FaultSweep;
  beforeAll(async () => {
    sweep = await openRelinkSweep();
  });
  afterAll(() => {
    sweep.close();
  });

  it(
    "killed at call N leaves every name readable, and the next run finishes with the directories' times as they were",
    { timeout: 3_600_000 },
    async () => {
      const stride = Math.max(1, Math.ceil(sweep.calls / most));
      const faults = everyNth(sweep.calls, stride, Math.ceil(stride / 2));
      expect(await sweep.run(faults.map((at) => ({ at, errno: "KILL" }) as const))).toEqual([]);
    },
  );

  it.each(errnos)(
    "whose call N fails with %s loses nothing, and the next run finishes",
    { timeout: 3_600_000 },
    async (errno) => {
      expect(await sweep.run(everyNth(sweep.calls, isLong ? 3 : 149).map((at) => ({ at, errno })))).toEqual(
        [],
      );
    },
  );
});
