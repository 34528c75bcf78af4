import {
  chmodSync,
  existsSync,
  lstatSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { dedupe } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { compareTrees } from "../support/oracle.ts";
import { partition, relinkWell } from "../support/relink.ts";
import { ignoringAll, makeDiffering, undo } from "../support/undo.ts";
import { verify } from "../support/verify.ts";
import { isLong } from "../support/long.ts";

vi.setConfig({ testTimeout: 240_000 });

const MIB = 2 ** 20;
const types: FilesystemType[] = isLong ? ["ext4", "xfs", "btrfs"] : ["ext4"];

type Roots = { root: string; original: string };

async function withDiffering(type: FilesystemType, test: (roots: Roots) => void): Promise<void> {
  await withFilesystem({ type, sizeBytes: 512 * MIB }, (mount) => {
    const [root, original] = [join(mount, "root"), join(mount, "original")];
    makeDiffering(root, original);
    test({ root, original });
  });
}

const undoLog = (root: string): string[] =>
  readdirSync(join(root, ".dedupe/log")).filter((name) => name.startsWith("undo."));

describe("relink --undo", () => {
  for (const type of types)
    it.skipIf(!requireFilesystem(type))(
      `gives every name on ${type} what --ignore-* took from it, and lets names that had the same share an inode`,
      async () => {
        await withDiffering(type, ({ root, original }) => {
          expect(relinkWell(...ignoringAll, root).summary).toMatchObject({ linkedNames: 5, mergedInodes: 5 });
          expect(partition(root)).toHaveLength(3);
          expect(undoLog(root)).not.toEqual([]);
          const foreseen = undo("--dry-run", root).summary;
          const { code, summary } = undo(root);
          expect(code).toBe(0);
          // Of the last content nothing was lost.
          expect(summary).toMatchObject({
            loggedNames: 4,
            restoredNames: 4,
            createdInodes: 3,
            otherNames: 0,
          });
          expect(foreseen).toMatchObject({ restoredNames: 4, createdInodes: 3, changedInodes: 0 });
          expect(compareTrees(original, root, { mergedOk: true })).toEqual([]);
          expect(partition(root)).toContain("daily.1/a\ndaily.2/a");
          expect(undoLog(root)).toEqual([]);
          expect(verify([root]).found).toEqual([]);
          expect(undo(root).summary).toMatchObject({ loggedNames: 0, restoredNames: 0 });
        });
      },
    );
});

describe.skipIf(!requireFilesystem("ext4"))("relink --undo", () => {
  it("sets the attributes in place where all names of an inode are to have the same", async () => {
    await withDiffering("ext4", ({ root, original }) => {
      relinkWell(...ignoringAll, root);
      rmSync(join(root, "daily.1/c"));
      rmSync(join(original, "daily.1/c"));
      const { ino } = lstatSync(join(root, "daily.0/c"));
      const { summary } = undo(root);
      expect(summary).toMatchObject({ changedInodes: 1, createdInodes: 2, restoredNames: 4 });
      expect(lstatSync(join(root, "daily.0/c")).ino).toBe(ino);
      const found = compareTrees(original, root, { mergedOk: true });
      expect(found.filter(({ path }) => path !== "daily.1")).toEqual([]);
      expect(verify([root]).found).toEqual([]);
    });
  });

  it("gives a name that was merged twice what it had at first", async () => {
    await withDiffering("ext4", ({ root, original }) => {
      relinkWell(...ignoringAll, root);
      // The store forgets its objects, but not the log: another survivor may win.
      rmSync(join(root, ".dedupe/objects"), { recursive: true });
      rmSync(join(root, ".dedupe/index"), { recursive: true });
      writeFileSync(join(root, "daily.0/more"), "same\n");
      dedupe(["relink", "-q", ...ignoringAll, "--full", root]);
      expect(undo(root).code).toBe(0);
      rmSync(join(root, "daily.0/more"));
      const found = compareTrees(original, root, { mergedOk: true });
      expect(found.filter(({ path }) => path !== "daily.0")).toEqual([]);
    });
  });

  it("leaves alone what was changed, replaced or removed since", async () => {
    await withDiffering("ext4", ({ root, original }) => {
      relinkWell(...ignoringAll, root);
      chmodSync(join(root, "daily.0/c"), 0o600);
      rmSync(join(root, "daily.2/b"));
      rmSync(join(root, "daily.1/a"));
      writeFileSync(join(root, "daily.1/a"), "other\n");
      const { code, summary, events } = undo(root);
      expect(code).toBe(3);
      expect(summary).toMatchObject({ restoredNames: 1, otherNames: 2, failures: 1 });
      const failures = events.filter(({ type }) => type === "failure");
      expect(failures).toMatchObject([{ path: "daily.0/c", code: "CHANGED" }]);
      expect(readFileSync(join(root, "daily.1/a"), "utf8")).toBe("other\n");
      expect(undoLog(root)).not.toEqual([]);
      const found = compareTrees(original, root, { mergedOk: true }).map(({ path }) => path);
      expect(found).not.toContain("daily.2/a");
    });
  });

  it("finds the names of snapshots that were rotated meanwhile, and keeps its log for those that are away", async () => {
    await withDiffering("ext4", ({ root, original }) => {
      relinkWell(...ignoringAll, root);
      const away = `${root}.away`;
      renameSync(join(root, "daily.2"), away);
      for (const tree of [root, original]) {
        if (tree === original) renameSync(join(tree, "daily.2"), join(tree, "daily.3"));
        for (const day of [1, 0])
          renameSync(join(tree, `daily.${String(day)}`), join(tree, `daily.${String(day + 1)}`));
      }
      expect(undo(root)).toMatchObject({ code: 0, summary: { restoredNames: 2, otherNames: 2 } });
      expect(undoLog(root)).not.toEqual([]);
      renameSync(away, join(root, "daily.3"));
      expect(undo(root).summary).toMatchObject({ restoredNames: 2 });
      expect(compareTrees(original, root, { mergedOk: true }).filter(({ path }) => path !== ".")).toEqual([]);
    });
  });

  it("is complete, and forgets its log, though an earlier one was cut short after some names", async () => {
    await withDiffering("ext4", ({ root, original }) => {
      relinkWell(...ignoringAll, root);
      const log = join(root, ".dedupe/log");
      const kept = undoLog(root).map((name) => ({
        path: join(log, name),
        bytes: readFileSync(join(log, name)),
      }));
      expect(undo(root).code).toBe(0);
      // As a kill leaves it before the log goes.
      for (const { path, bytes } of kept) writeFileSync(path, bytes);
      expect(undo(root)).toMatchObject({ code: 0, summary: { loggedNames: 4, otherNames: 0 } });
      expect(undoLog(root)).toEqual([]);
      expect(compareTrees(original, root, { mergedOk: true })).toEqual([]);
    });
  });

  it("says in a sentence that there is nothing to undo by, and takes no rules", async () => {
    await withDiffering("ext4", ({ root }) => {
      expect(dedupe(["relink", "--undo", root]).err).toMatch(/has no store/);
      expect(existsSync(join(root, ".dedupe"))).toBe(false);
      expect(dedupe(["relink", "--undo", "--ignore-time", root]).code).toBe(2);
    });
  });
});
