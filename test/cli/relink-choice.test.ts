import { execFileSync } from "node:child_process";
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { relink, relinkWell } from "../support/relink.ts";
import { requireTool } from "../support/skip.ts";
import { file, linkTo, makeTree, sparse } from "../support/tree.ts";

const MIB = 2 ** 20;

describe.skipIf(!requireFilesystem("ext4"))("relink", () => {
  it("leaves the store of another target below alone", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 128 * MIB }, (mount) => {
      const root = join(mount, "root");
      for (const host of ["a", "b"]) {
        const store = join(root, host, ".dedupe");
        makeTree(store, { "format.json": file("{}"), "index/data.mdb": file("rows".repeat(2000)) });
        makeTree(join(root, host), { "daily.0/x": file("the same on both hosts".repeat(400)) });
      }
      execFileSync("find", [root, "-exec", "touch", "-d", "2024-01-01", "{}", "+"]);
      relinkWell("--full", root);
      const linksOf = (path: string) => lstatSync(join(root, "a", path)).nlink;
      expect([".dedupe/index/data.mdb", ".dedupe/format.json"].map(linksOf)).toEqual([1, 1]);
      expect(linksOf("daily.0/x")).toBeGreaterThan(1);
    });
  });

  it("keeps the sparsest of equals, and frees what holes do not take", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 128 * MIB }, (mount) => {
      const root = join(mount, "root");
      const mtimeNs = 10n ** 18n;
      makeTree(root, {
        "daily.0/image": file(Buffer.alloc(8 * MIB), { mtimeNs }),
        "daily.1/image": sparse([8 * MIB], { mtimeNs }),
        "daily.2/image": linkTo("daily.0/image"),
      });
      const dense = lstatSync(join(root, "daily.0/image")).blocks;
      expect(dense).toBeGreaterThan(10_000);
      const foreseen = relinkWell("-n", root).summary;
      const { summary } = relinkWell(root);
      expect(lstatSync(join(root, "daily.0/image")).blocks).toBeLessThan(dense / 100);
      expect(summary).toMatchObject({ mergedInodes: 1, linkedNames: 2, freedBytes: dense * 512 });
      expect(foreseen.freedBytes).toBe(summary.freedBytes);
    });
  });

  it.skipIf(!requireTool("chattr"))(
    "heals what is equal to an immutable file, and tells of that",
    async () => {
      await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
        const root = join(mount, "root");
        const same = file("the same", { mtimeNs: 10n ** 18n });
        makeTree(root, {
          "daily.0/a": same,
          "daily.1/a": linkTo("daily.0/a"),
          "daily.2/a": same,
          "daily.3/a": same,
        });
        execFileSync("chattr", ["+i", join(root, "daily.0/a")]);
        try {
          const { code, summary, events } = relink(root);
          expect(code).toBe(3);
          expect(summary).toMatchObject({ mergedInodes: 1, linkedNames: 1 });
          const failures = events.filter(({ type }) => type === "failure");
          expect(failures.map(({ path, code: why }) => [path, why]).sort()).toEqual([
            ["daily.0/a", "EPERM"],
            ["daily.1/a", "EPERM"],
          ]);
        } finally {
          execFileSync("chattr", ["-i", join(root, "daily.0/a")]);
        }
        expect(relinkWell(root).summary).toMatchObject({ mergedInodes: 1, linkedNames: 2 });
      });
    },
  );
});
