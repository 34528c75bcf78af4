import { describe, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { requireRsnapshot } from "../support/rsnapshot.ts";
import { expectGoodYear } from "../support/good-year.ts";

describe.skipIf(!requireFilesystem("ext4") || !requireRsnapshot())("a migrated root", () => {
  it(
    "stays small and right for 40 days of backups, deletions, edits in place and killed compacts",
    { timeout: 600_000 },
    () => expectGoodYear({ days: 40, scale: 0.01, retain: 12, kills: 1, seed: 7 }),
  );
});
