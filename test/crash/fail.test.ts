import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { everyNth } from "../support/fault-sweep.ts";
import { openSweep, type Sweep } from "../support/sweep.ts";

const errnos = ["EIO", "ENOSPC", "EMLINK", "EXDEV", "EPERM", "EACCES", "ENOENT", "EINTR"] as const;
/* fail.long.test.ts takes every call. */
const most = 12;

describe.skipIf(!requireFilesystem("ext4")).each(["first", "update"] as const)(
  "a %s run whose call N fails",
  (kind) => {
    let sweep: Sweep;
    beforeAll(async () => {
      sweep = await openSweep(kind);
    });
    afterAll(() => {
      sweep.close();
    });

    it("loses no name unlisted, has no bug, and the next one finishes", { timeout: 480_000 }, async () => {
      const stride = Math.ceil(sweep.calls / most);
      const faults = everyNth(sweep.calls, stride, 2).map(
        (at, index) => ({ at, errno: errnos[index % errnos.length]! }) as const,
      );
      expect(await sweep.run(faults)).toEqual([]);
      expect(sweep.sourceChanges()).toEqual([]);
    });
  },
);
