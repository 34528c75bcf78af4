import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { migrate } from "./dedupe.ts";
import { withFilesystem, type FilesystemType } from "./filesystem.ts";
import { makeHostileTree } from "./hostile.ts";
import { grow, untouched } from "./migrate.ts";
import { against, verify } from "./verify.ts";

const MIB = 2 ** 20;

export interface HonestTarget {
  readonly type: FilesystemType;
  readonly entries: number;
  /** What the filesystem cannot hold at all, in both snapshots. */
  readonly impossible?: readonly string[];
}

/** Migrates the hostile tree: neither the copy nor its store may be found fault with, and nothing may be touched. */
export async function expectHonest({ type, entries, impossible = [] }: HonestTarget): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, async (sourceMount) => {
    const hostile = makeHostileTree(join(sourceMount, "source"), { entries });
    await grow();
    await withFilesystem({ type, sizeBytes: 1024 * MIB }, (mount) => {
      const target = join(mount, "target");
      mkdirSync(target);
      migrate(hostile.root, target);
      const look = (): string[] => untouched(hostile.root);
      // Reading such a tree in Python takes seconds: once is enough.
      const before = type === "ext4" ? look() : [];

      const days = ["daily.0", "daily.1"];
      const missing = days.flatMap((day) => impossible.map((name) => `missing ${day}/${name}`));
      const run = against(hostile.root, target);
      expect(run.found).toEqual(missing);
      expect(run.summary.failures).toBe(0);
      expect(run.code).toBe(missing.length === 0 ? 0 : 4);
      const { notes, rootDigest } = run.summary;
      expect(Object.keys(notes).filter((kind) => type === "ext4" || kind !== "time-limit")).toEqual([]);
      if (type === "ext4") expect(rootDigest?.target).toBe(rootDigest?.source);

      const store = verify([target]);
      expect(store).toMatchObject({ code: 0, found: [], noted: [] });
      if (type === "ext4") expect(look()).toEqual(before);
    });
    hostile.close();
  });
}
