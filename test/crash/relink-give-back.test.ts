import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compact, leftovers, relink } from "../support/faulty-run.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { fill } from "../support/fill.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { relinkWell } from "../support/relink.ts";

const MIB = 2 ** 20;

const shell = (cwd: string, commands: string): void => {
  execFileSync("sh", ["-ec", commands], { cwd });
};

describe.skipIf(!requireFilesystem("ext4"))("a relink", () => {
  it("takes names that are made while it takes stock for links, and leaves what fsck found alone", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, async (mount) => {
      const root = join(mount, "root");
      mkdirSync(root);
      shell(
        root,
        `mkdir -p daily.0 daily.1/deep lost+found; printf old > daily.0/a
         cp daily.0/a daily.1/deep/a; cp daily.0/a lost+found/a
         touch -d @1600000000 daily.0/a daily.1/deep/a lost+found/a; touch -d @1600000000 daily.1`,
      );
      const command = `ln ${root}/daily.0/a ${root}/daily.1/deep/b`;
      const rules: FaultRule[] = [
        { calls: ["getdents64"], path: "daily.1/deep", action: { type: "run", when: "before", command } },
      ];
      const { summary } = await relink(root, { args: ["-j", "1"], plan: { rules } });
      expect(summary).toMatchObject({ twiceInodes: 0, inodes: 2, linkedNames: 1 });
      expect(lstatSync(join(root, "lost+found/a")).nlink).toBe(1);
    });
  });
});

/** Something happens just before an exchange, and the run dies just after it. */
const killAround = (path: string, at: number, command: string): FaultRule[] =>
  (["before", "after"] as const).map((when) => ({
    ...{ calls: ["renameat2"], path, at },
    action: when === "before" ? { type: "run", when, command } : { type: "kill", when },
  }));

describe.skipIf(!requireFilesystem("ext4"))(
  "a relink that is killed between an exchange and the look",
  () => {
    it.each([
      ["an inode that has another name, which was replaced before", "printf NEW >> daily.1/b", "oldNEW"],
      ["a file that was put there just before", "printf newer > new; mv new daily.1/b", "newer"],
    ])("gives its own name back to %s", async (_, command, content) => {
      await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, async (mount) => {
        const root = join(mount, "root");
        mkdirSync(root);
        shell(
          root,
          `mkdir daily.0 daily.1; printf old > daily.0/s; printf old > daily.1/a; ln daily.1/a daily.1/b
         ln daily.0/s daily.0/t; ln daily.0/s daily.0/u; touch -d @1600000000 daily.0/s daily.1/a`,
        );
        const rules = killAround("daily.1", 2, `cd ${root} && ${command}`);
        const killed = await relink(root, { args: ["-j", "1"], plan: { rules } });
        expect(killed.code).toBeNull();
        expect(leftovers(root)).toHaveLength(1);
        relinkWell(root);
        const read = (name: string): string => readFileSync(join(root, name), "utf8");
        expect(["daily.1/a", "daily.1/b", "daily.0/s"].map(read)).toEqual(["old", content, "old"]);
        expect(lstatSync(join(root, "daily.1/a")).ino).toBe(lstatSync(join(root, "daily.0/s")).ino);
        expect(leftovers(root)).toEqual([]);
      });
    });
  },
);

describe.skipIf(!requireFilesystem("ext4"))(
  "a relink of a full disk that is killed between an exchange and the look",
  () => {
    it.each([
      ["an inode that has another name", "printf NEW >> daily.1/deep/b", "oldNEW"],
      ["a file that was put there just before", "mv daily.1/new daily.1/deep/b", "newer"],
      ["the only name that is left", "rm -f daily.1/a; printf NEW >> daily.1/deep/b", "oldNEW"],
    ])("gives its own name back to %s", async (_, command, content) => {
      await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, async (mount) => {
        const root = join(mount, "root");
        mkdirSync(root);
        writeFileSync(join(root, "large"), Buffer.alloc(8 * MIB, "large"));
        shell(
          root,
          `mkdir -p daily.0/deep daily.1/deep; cp -a large daily.0; mv large daily.1; printf newer > daily.1/new
         cd daily.0/deep; printf old > s; for name in t u v w; do ln s $name; done
         cd ../../daily.1; printf old > a; ln a deep/b; touch -d @1600000000 a ../daily.0/deep/s`,
        );
        fill(join(mount, "ballast"));
        const rules = killAround("daily.1/deep", 1, `cd ${root} && ${command}`);
        expect((await relink(root, { args: ["-j", "1"], plan: { rules } })).code).toBeNull();
        const beside = (): string[] => readdirSync(root).filter((name) => name.startsWith(".dedupe-relink"));
        expect(beside()).toHaveLength(1);
        expect(relinkWell(root).events.filter(({ code }) => code === "LEFTOVER")).toEqual([]);
        const read = (name: string): string => readFileSync(join(root, name), "utf8");
        expect(["daily.1/deep/b", "daily.0/deep/s"].map(read)).toEqual([content, "old"]);
        expect(beside()).toEqual([]);
      });
    });
  },
);

describe.skipIf(!requireFilesystem("ext4"))("a relink that is killed in the root's own names", () => {
  it.each([
    ["relink", relink],
    ["compact", compact],
  ])("leaves a time to the root that the next %s puts right", async (_, next) => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, async (mount) => {
      const root = join(mount, "root");
      mkdirSync(root);
      shell(root, "printf same > loose-a; cp loose-a loose-b; touch -d @1600000000 loose-a loose-b .");
      const kill = { type: "kill", when: "after" } as const;
      const rules = [{ calls: ["renameat2"], path: "loose-", action: kill }];
      expect((await relink(root, { args: ["-j", "1"], plan: { rules } })).code).toBeNull();
      expect(lstatSync(root).mtimeMs).not.toBe(1.6e12);
      expect((await next(root)).code).toBe(0);
      expect(lstatSync(root).mtimeMs).toBe(1.6e12);
    });
  });
});
