import { closeSync, fsyncSync, lstatSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { relink } from "../support/faulty-run.ts";
import {
  makeFilesystem,
  requireFilesystem,
  withFilesystem,
  type ImageSnapshot,
} from "../support/filesystem.ts";
import { compareTrees, type Difference } from "../support/oracle.ts";
import { file, makeTree } from "../support/tree.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;
const types = isLong ? (["ext4", "xfs"] as const) : (["xfs"] as const);
const cuts = isLong ? 50 : 4;
const files = isLong ? 6000 : 600;

/* Every call is traced to nowhere. */
const slowly = { plan: { trace: { file: "/dev/null" } } };

describe.each(types)("power cuts on %s while relink runs", (type) => {
  it.skipIf(!requireFilesystem(type) || !requireFilesystem("xfs"))(
    "lose no name and zero none, though what survives was written just before; the next run finishes",
    { timeout: 900_000 },
    async () => {
      await withFilesystem({ type: "tmpfs", sizeBytes: 1024 * MIB }, async (elsewhere) => {
        const original = join(elsewhere, "original");
        makeSnapshots(original);
        const disk = makeFilesystem({ type, sizeBytes: 1024 * MIB, imageOn: "xfs" });
        try {
          // Nothing of it is synced by anyone but relink.
          const root = join(disk.mountPoint, "root");
          makeSnapshots(root);
          const images: ImageSnapshot[] = [];
          const state = { isRunning: true };
          const run = relink(root, slowly).finally(() => (state.isRunning = false));
          for (; state.isRunning && images.length < cuts; await delay(2)) {
            if (!isActing(root)) continue;
            flushLog(join(disk.mountPoint, "unrelated"));
            images.push(disk.snapshotImage());
          }
          expect((await run).code).toBe(0);
          let partly = 0;
          for (const image of images) {
            const cut = image.mount();
            try {
              const there = join(cut.mountPoint, "root");
              if (compareTrees(original, there).some(isMerge)) partly++;
              else continue;
              expect(broken(original, there)).toEqual([]);
              expect((await relink(there)).code).toBe(0);
              expect(broken(original, there)).toEqual([]);
              expect(compareTrees(there, root).filter(({ class: kind }) => kind !== "mtime")).toEqual([]);
            } finally {
              cut.close();
            }
          }
          process.stdout.write(`${type}: ${partly} of ${images.length} cuts after the first exchange\n`);
          expect(partly).toBeGreaterThan(0);
        } finally {
          disk.close();
        }
      });
    },
  );
});

/** A name was replaced: its inode has more names than its own and the object's. */
function isActing(root: string): boolean {
  return Array.from({ length: 25 }, (_, index) => index).some((index) =>
    [0, 1, 2].some((day) => lstatSync(`${root}/daily.${day}/d${index}/f${index}`).nlink > 2),
  );
}

/** Every exchange made so far goes to the disk with it, but no other file's data. */
function flushLog(path: string): void {
  const fd = openSync(path, "w");
  writeSync(fd, "x");
  fsyncSync(fd);
  closeSync(fd);
}

const isMerge = ({ class: kind }: Difference): boolean => kind === "group-merged";

/** Directory times wait for the next run. */
function broken(original: string, root: string): Difference[] {
  return compareTrees(original, root, { mergedOk: true }).filter(
    ({ class: kind, path }) => !(kind === "mtime" && !path.includes("/f")),
  );
}

function makeSnapshots(root: string): void {
  mkdirSync(root);
  for (let day = 0; day < 3; day++)
    makeTree(
      root,
      Object.fromEntries(
        Array.from({ length: files }, (_, index) => [
          `daily.${String(day)}/d${String(index % 25)}/f${String(index)}`,
          file(`content of file ${String(index)}\n`.repeat(1 + (index % 200))),
        ]),
      ),
    );
}
