import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { makeRsnapshotRoot } from "../support/rsnapshot.ts";
import { requireTool } from "../support/skip.ts";
import { expectHonest } from "../support/verify-honest.ts";
import { against, verify } from "../support/verify.ts";

const MIB = 2 ** 20;

describe.skipIf(!requireFilesystem("ext4"))("a hostile tree", () => {
  it("and its copy on ext4 are found equal, its store sound, and nothing is touched", async () => {
    await expectHonest({ type: "ext4", entries: 200 });
  });
});

describe.skipIf(!requireTool("rsnapshot") || !requireFilesystem("ext4"))("a real rsnapshot root", () => {
  it("and its copy are found equal; what rsnapshot adds is new since", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, async (sourceMount) => {
      const source = join(sourceMount, "root");
      const made = makeRsnapshotRoot(source, { snapshots: 6, scale: 0.1 });
      await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, (mount) => {
        const target = join(mount, "target");
        mkdirSync(target);
        expect(migrate(source, target).code).toBe(0);
        expect(against(source, target)).toMatchObject({ code: 0, found: [], noted: [] });
        expect(verify([target])).toMatchObject({ code: 0, found: [], noted: [] });
        made.change();
        made.backup(target);
        const later = verify([target]);
        expect(later).toMatchObject({ code: 0, found: [] });
        expect(later.noted.length).toBeGreaterThan(0);
        expect(later.noted.filter((line) => !line.startsWith("new-since "))).toEqual([]);
      });
      made.close();
    });
  });
});
