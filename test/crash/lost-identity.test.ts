import { mkdirSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { file, makeTree } from "../support/tree.ts";

describe.skipIf(!requireFilesystem("xfs"))(
  "--delete, of a source that did not say once which filesystem it is",
  () => {
    it.each([
      ["in the first run", 0],
      ["in a later one", 1],
    ] as const)("%s, goes on", { timeout: 240_000 }, async (_, which) => {
      await withFilesystem({ type: "xfs", sizeBytes: 320 * 2 ** 20 }, async (mountPoint) => {
        const [source, target] = ["source", "target"].map((name) => join(mountPoint, name)) as [
          string,
          string,
        ];
        mkdirSync(target);
        for (const run of [0, 1, 2]) {
          makeTree(source, { [`daily.0/${run}`]: file("content") });
          const action = { type: "fail", errno: constants.errno.EINTR } as const;
          const rules = run === which ? [{ calls: ["ioctl"], path: "source", times: 100, action }] : [];
          const { code, stderr } = await migrate(source, target, {
            args: ["--delete", "-j1"],
            plan: { rules },
          });
          expect({ run, code, stderr }).toEqual({ run, code: 0, stderr: "" });
        }
      });
    });
  },
);

it.skipIf(!requireFilesystem("xfs"))(
  "of a source without lasting inode numbers, what is kept apart is copied anew, and that is said",
  async () => {
    await withFilesystem({ type: "xfs", sizeBytes: 320 * 2 ** 20 }, async (mountPoint) => {
      const source = join(mountPoint, "source");
      const target = join(mountPoint, "target");
      mkdirSync(target);
      makeTree(source, { "daily.0/a": file("content") });
      const action = { type: "fail", errno: constants.errno.ENOTTY } as const;
      const plan = { rules: [{ calls: ["ioctl"], path: "source", times: 1000, action }] };
      for (const args of [
        ["--merge", "none"],
        ["--merge", "none"],
        ["--merge", "none", "--dry-run"],
      ]) {
        const { code, stdout, summary } = await migrate(source, target, { args, plan });
        expect({ code, createdInodes: summary?.createdInodes }).toEqual({ code: 0, createdInodes: 1 });
        expect(stdout).toContain('"NO_IDENTITY"');
      }
      const { stdout } = await migrate(source, target, { args: ["--merge", "none"] });
      expect(stdout).not.toContain("NO_IDENTITY");
    });
  },
);
