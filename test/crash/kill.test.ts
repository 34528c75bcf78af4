import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { everyNth } from "../support/fault-sweep.ts";
import { openSweep, type Sweep } from "../support/sweep.ts";

/* kill.long.test.ts takes every call. */
const most = 8;

describe.skipIf(!requireFilesystem("ext4")).each(["first", "update"] as const)(
  "a %s run killed at call N",
  (kind) => {
    let sweep: Sweep;
    beforeAll(async () => {
      sweep = await openSweep(kind);
    });
    afterAll(() => {
      sweep.close();
    });

    it(
      "is finished exactly by the next one, with nothing left over and the source untouched",
      { timeout: 360_000 },
      async () => {
        const stride = Math.ceil(sweep.calls / most);
        const faults = everyNth(sweep.calls, stride).map((at) => ({ at, errno: "KILL" }) as const);
        expect(await sweep.run(faults)).toEqual([]);
        expect(sweep.sourceChanges()).toEqual([]);
      },
    );
  },
);
