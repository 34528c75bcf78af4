import { linkSync, mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { migrate } from "../support/dedupe.ts";
import { fill } from "../support/fill.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { makeTwoSnapshots } from "../support/two-snapshots.ts";

const MIB = 2 ** 20;

useFolders();

beforeEach(() => {
  makeTwoSnapshots(source);
});

describe.skipIf(!requireFilesystem("ext4"))("a target that is full", () => {
  it("lets a run that has nothing to copy pass on a target that is full, or full for all but root", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB, options: ["-m", "20"] }, (mount) => {
      const inside = join(mount, "target");
      mkdirSync(inside);
      expect(migrate(source, inside).code).toBe(0);
      const { bavail, bsize } = statfsSync(mount);
      writeFileSync(join(mount, "ballast"), Buffer.alloc(bavail * bsize + MIB));
      expect(statfsSync(mount).bavail).toBe(0);
      expect(migrate(source, inside)).toMatchObject({ code: 0, err: "" });
      fill(join(mount, "rest"));
      const full = migrate(source, inside);
      expect(full.err).toContain("has no free space");
      expect(full.code).toBe(0);
      expect(compareTrees(source, inside)).toEqual([]);
      // Removing and linking need no room: what an update plans is kept elsewhere.
      linkSync(join(source, "daily.0/docs/kept"), join(source, "daily.0/docs/again"));
      rmSync(join(source, "daily.1/docs/edited"));
      const changed = migrate(source, inside, "--delete");
      expect(changed.code, changed.err).toBe(0);
      expect(changed.out).toMatch(/removed +1 name/);
      expect(compareTrees(source, inside)).toEqual([]);
    });
  });
});
