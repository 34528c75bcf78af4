import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { migrate } from "../support/faulty-run.ts";
import {
  makeFilesystem,
  requireFilesystem,
  withFilesystem,
  type ImageSnapshot,
} from "../support/filesystem.ts";
import { finishes, visibleDifferences } from "../support/promises.ts";
import { moments } from "../support/resume.ts";
import { makeRsnapshotRoot, requireRsnapshot } from "../support/rsnapshot.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;
const cuts = isLong ? 50 : 2;
/* Slowed down, so that several batches are sealed and published while the images are taken. */
const seconds = isLong ? 20 : 8;

describe.skipIf(!requireRsnapshot()).each(["ext4", "xfs"] as const)("power cuts on %s", (type) => {
  it.skipIf(!requireFilesystem(type) || !requireFilesystem("xfs"))(
    `at ${cuts} moments leave every published snapshot whole, and the next run finishes`,
    { timeout: 1_800_000 },
    async () => {
      await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, async (sourceMount) => {
        const source = join(sourceMount, "root");
        // Several hosts, so that snapshots are published all along and not at the end alone.
        for (const [seed, host] of ["red", "green", "blue", "white", "black"].entries()) {
          makeRsnapshotRoot(join(source, host), { snapshots: 2, scale: 0.08, seed }).close();
        }
        const disk = makeFilesystem({ type, sizeBytes: 1024 * MIB, imageOn: "xfs" });
        try {
          mkdirSync(join(disk.mountPoint, "target"));
          spawnSync("sync", ["-f", disk.mountPoint]);
          const bytes = Number(spawnSync("du", ["-sb", source]).stdout.toString().split("\t")[0]);
          const args = [`--bwlimit=${Math.ceil(bytes / seconds / 1024)}`];
          const images: ImageSnapshot[] = [];
          const target = join(disk.mountPoint, "target");
          const state = { isRunning: true };
          const run = migrate(source, target, { args }).finally(() => (state.isRunning = false));
          const started = performance.now();
          const due = moments(cuts).map((share) => share * (seconds + 1) * 1000);
          let seen = 0;
          for (; state.isRunning; await delay(5)) {
            // However slow the machine is, a cut comes after each publishing: from the second on, the one before is durable.
            const count: number = snapshotsIn(target);
            const hasPublished: boolean = count > seen;
            seen = count;
            if (!hasPublished && performance.now() - started < (due[0] ?? Infinity)) continue;
            if (!hasPublished) due.shift();
            images.push(disk.snapshotImage());
          }
          expect((await run).code).toBe(0);
          expect(images.length).toBeGreaterThan(cuts * 0.8);
          const published: number[] = [];
          for (const image of images) {
            const cut = image.mount();
            try {
              const attempt = { source, target: join(cut.mountPoint, "target"), unitDepth: 2 };
              expect(visibleDifferences(attempt)).toEqual([]);
              published.push(snapshotsIn(attempt.target));
              expect(await finishes(attempt)).toEqual([]);
            } finally {
              cut.close();
            }
          }
          process.stdout.write(`${type}: snapshots published at the cuts: ${published.join(" ")}\n`);
          // Or it would have shown nothing.
          expect(published.filter((count) => count > 0 && count < 10).length).toBeGreaterThan(0);
        } finally {
          disk.close();
        }
      });
    },
  );
});

function snapshotsIn(target: string): number {
  const hosts = readdirSync(target).filter((name) => !name.startsWith("."));
  return hosts.flatMap((host) => readdirSync(join(target, host))).length;
}
