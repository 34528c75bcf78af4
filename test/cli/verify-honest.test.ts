import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { makeHostileTree } from "../support/hostile.ts";
import { fingerprint, grow, untouched } from "../support/migrate.ts";
import { makeRsnapshotRoot } from "../support/rsnapshot.ts";
import { requireTool } from "../support/skip.ts";
import { against, verify } from "../support/verify.ts";

const MIB = 2 ** 20;

interface Target {
  readonly type: FilesystemType;
  readonly entries: number;
  /** What the filesystem cannot hold at all, in both snapshots. */
  readonly impossible?: readonly string[];
}

const targets: readonly Target[] = [
  { type: "ext4", entries: 2000 },
  { type: "ext3-128", entries: 200 },
  {
    type: "xfs",
    entries: 200,
    impossible: ["specials/b-4095-1048575", "specials/c-4095-1048575", "symlinks/4095"],
  },
  { type: "btrfs", entries: 200 },
];

describe.skipIf(!requireFilesystem("ext4"))("a hostile tree", () => {
  for (const { type, entries, impossible = [] } of targets) {
    it.skipIf(!requireFilesystem(type))(
      `and its copy on ${type} are found equal, the store sound`,
      async () => {
        await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, async (sourceMount) => {
          const hostile = makeHostileTree(join(sourceMount, "source"), { entries });
          await grow();
          await withFilesystem({ type, sizeBytes: 1024 * MIB }, (mount) => {
            const target = join(mount, "target");
            mkdirSync(target);
            migrate(hostile.root, target);
            const before = untouched(hostile.root);
            const made = fingerprint(target);

            const missing = ["daily.0", "daily.1"].flatMap((day) =>
              impossible.map((name) => `missing ${day}/${name}`),
            );
            const run = against(hostile.root, target);
            expect(run.found).toEqual(missing);
            expect(run.summary.failures).toBe(0);
            expect(run.code).toBe(missing.length === 0 ? 0 : 4);
            const kinds = new Set(run.noted.map((line) => line.split(" ")[0]));
            if (type === "ext4") expect([...kinds]).toEqual([]);
            else expect([...kinds].filter((kind) => kind !== "time-limit")).toEqual([]);
            if (type === "ext4") expect(run.summary.rootDigest?.target).toBe(run.summary.rootDigest?.source);

            const store = verify([target]);
            expect(store.found).toEqual([]);
            expect(store.noted).toEqual([]);
            expect(store.code).toBe(0);
            expect(fingerprint(target)).toEqual(made);
            expect(untouched(hostile.root)).toEqual(before);
          });
          hostile.close();
        });
      },
    );
  }
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
