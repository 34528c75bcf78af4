import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { everyNth } from "../support/fault-sweep.ts";
import { openSweep, type Sweep } from "../support/sweep.ts";

const errnos = ["EIO", "ENOSPC", "EMLINK", "EXDEV", "EPERM", "EACCES", "ENOENT", "EINTR"] as const;

describe.skipIf(!requireFilesystem("ext4")).each(["first", "update"] as const)("a %s run", (kind) => {
  let sweep: Sweep;
  beforeAll(async () => {
    sweep = await openSweep(kind);
  });
  afterAll(() => {
    sweep.close();
  });

  it.each(errnos)("survives %s from any call", { timeout: 3_600_000 }, async (errno) => {
    const faults = everyNth(sweep.calls, 1).map((at) => ({ at, errno }));
    expect(await sweep.run(faults)).toEqual([]);
    expect(sweep.sourceChanges()).toEqual([]);
  });
});
