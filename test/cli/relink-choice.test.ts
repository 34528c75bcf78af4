import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { repositoryRoot } from "../support/repository-root.ts";
import { relink, relinkWell } from "../support/relink.ts";
import { requireTool } from "../support/skip.ts";
import { objectOf } from "../support/store-objects.ts";
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

  it.skipIf(!requireTool("chattr"))("says what to do about an object that is immutable", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      const same = file("the same", { mtimeNs: 10n ** 18n });
      makeTree(root, { "daily.0/a": same });
      relinkWell("--full", root);
      makeTree(root, { "daily.1/a": same, "daily.2/a": same });
      const messages = (flagged: string): string[] => {
        execFileSync("chattr", ["+i", join(root, flagged)]);
        try {
          const failures = relink(root).events.filter(({ type }) => type === "failure");
          return failures.map(({ path, message }) => `${String(path)}: ${String(message)}`).sort();
        } finally {
          execFileSync("chattr", ["-i", join(root, flagged)]);
        }
      };
      const object = objectOf(root, "daily.0/a");
      const text = `the inode that it is to share is immutable or append-only: chattr -ia ${object}, and run again`;
      expect(messages("daily.0/a")).toEqual([`daily.1/a: ${text}`, `daily.2/a: ${text}`]);
      expect(messages("daily.1/a")).toEqual([
        expect.stringMatching(/^daily.1.a: it is immutable .*chattr -ia/),
      ]);
      expect(relinkWell(root).summary).toMatchObject({ linkedNames: 1 });
    });
  });

  it("heals a wide tree with many threads and few descriptors", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      for (let made = 0; made < 3000; made++) {
        const folder = join(root, `daily.${made % 2}/${made >> 1}`);
        mkdirSync(folder, { recursive: true });
        writeFileSync(join(folder, "a"), String(made >> 1));
        utimesSync(join(folder, "a"), 1_600_000_000, 1_600_000_000);
      }
      const program = join(repositoryRoot, "bin/dedupe.js");
      const limited = `ulimit -n 1024; exec ${process.execPath} ${program} relink --json -j 8 ${root}`;
      const out = execFileSync("bash", ["-ec", limited], { encoding: "utf8" });
      const summary = out.split("\n").find((line) => line.includes('"summary"')) ?? "{}";
      expect(JSON.parse(summary)).toMatchObject({ outcome: "complete", linkedNames: 1500, failures: 0 });
    });
  });
});
