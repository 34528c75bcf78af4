import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { everyNth } from "../support/fault-sweep.ts";
import { openSweep, type Sweep } from "../support/sweep.ts";

const errnos = ["EIO", "ENOSPC", "EMLINK", "EXDEV", "EPERM", "EACCES", "ENOENT", "EINTR"] as const;
/* Each call fails in each way within so many days of sweeps; DEDUPE_TESTS_ERRNOS=all takes them at once, for hours. */
const today = Math.floor(Date.now() / 86_400_000);
const turns = env["DEDUPE_TESTS_ERRNOS"] === "all" ? errnos.map((_, turn) => turn) : [today];

describe.skipIf(!requireFilesystem("ext4")).each(["first", "update"] as const)("a %s run", (kind) => {
  let sweep: Sweep;
  beforeAll(async () => {
    sweep = await openSweep(kind);
  });
  afterAll(() => {
    sweep.close();
  });

  it.each(turns)("survives a failure of any call (turn %d)", { timeout: 3_600_000 }, async (turn) => {
    const faults = everyNth(sweep.calls, 1).map((at) => ({
      at,
      errno: errnos[(at + turn) % errnos.length]!,
    }));
    expect(await sweep.run(faults)).toEqual([]);
    expect(sweep.sourceChanges()).toEqual([]);
  });
});
