import { describe, it } from "vitest";
import { requireFilesystem } from "../support/filesystem.ts";
import { expectGoodYear } from "../support/good-year.ts";
import { requireRsnapshot } from "../support/rsnapshot.ts";

describe.skipIf(!requireFilesystem("ext4") || !requireRsnapshot())("a migrated root", () => {
  it(
    "stays small and right for 400 days of backups, deletions, edits in place and killed compacts",
    { timeout: 7_200_000 },
    () => expectGoodYear({ days: 400, scale: 0.02, retain: 30, kills: 2, seed: 11 }),
  );
});
