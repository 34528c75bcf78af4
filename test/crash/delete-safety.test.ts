import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { dedupe, migrateJson } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { requirement, requireTool } from "../support/skip.ts";
import { directory, file, makeTree } from "../support/tree.ts";

const MIB = 2 ** 20;
const able =
  requirement(process.getuid?.() === 0, "needs root") && requireFilesystem("ext4") && requireTool("chattr");
const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: "utf8" });

useFolders();

function migrateTwoDays(): void {
  makeTree(source, {
    "daily.0/a": file("a\n"),
    "daily.0/dir/b": file("b\n"),
    "daily.1/a": file("older\n"),
    "daily.1/sub/deep/f": file("f\n"),
    "daily.1/sub/deep/g": file("g\n"),
  });
  expect(migrateJson([source, target]).code).toBe(0);
}

async function withMountAt(point: string, work: (mount: string) => void | Promise<void>): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB }, async (mount) => {
    mkdirSync(point, { recursive: true });
    writeFileSync(join(mount, "precious"), "precious\n");
    run("mount", "--bind", mount, point);
    try {
      await work(mount);
    } finally {
      if (run("findmnt", "-rno", "TARGET").split("\n").includes(point)) run("umount", point);
    }
  });
}

const failuresOf = (done: ReturnType<typeof migrateJson>) =>
  done.events.flatMap(({ type, path, code }) =>
    type === "failure" ? [`${String(path)} ${String(code)}`] : [],
  );

test.skipIf(!able)("what is mounted below the target is left alone, and named once", async () => {
  makeTree(source, {
    "daily.0/a": file("a\n"),
    "daily.0/usb/b": file("b\n"),
    "host1/daily.0/c": file("c\n"),
    "host1/daily.0/d": file("d\n"),
  });
  mkdirSync(join(target, "daily.0"));
  await withMountAt(join(target, "host1"), async (mount) => {
    await withMountAt(join(target, "daily.0/usb"), () => {
      for (const dryRun of [["--dry-run"], []]) {
        const done = migrateJson([...dryRun, "--delete", source, target]);
        expect({ code: done.code, failures: failuresOf(done).sort() }).toEqual({
          code: 3,
          failures: ["daily.0/usb EXDEV", "host1 EXDEV", "host1/daily.0 EXDEV"],
        });
      }
    });
    expect(readdirSync(mount)).toEqual(["lost+found", "precious"]);
  });
  expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  expect(migrateJson(["--delete", source, target]).code).toBe(0);
  expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
});

test.skipIf(!able)("a file that is mounted over one of the target does not pass for it", async () => {
  makeTree(source, { "daily.0/a": file("a\n"), "daily.0/b": file("b\n") });
  const small = { type: "ext4", sizeBytes: 32 * MIB } as const;
  await withFilesystem(small, (onto) =>
    withFilesystem(small, (other) => {
      expect(migrateJson([source, onto]).code).toBe(0);
      const covered = join(onto, "daily.0/a");
      run("mount", "--bind", withInode(other, statSync(covered).ino), covered);
      try {
        for (const dryRun of [["--dry-run"], []]) {
          const done = migrateJson([...dryRun, source, onto]);
          expect({ code: done.code, failures: failuresOf(done) }).toEqual({
            code: 3,
            failures: ["daily.0/a EXDEV"],
          });
        }
      } finally {
        run("umount", covered);
      }
      expect(migrateJson([source, onto]).summary).toMatchObject({ snapshots: { unchanged: 1 } });
    }),
  );
});

test.skipIf(!able)("a directory of the target that is mounted below it is another one, too", () => {
  makeTree(source, { "daily.0/sub/a": file("a\n"), "host1/daily.0/c": file("c\n") });
  makeTree(target, { "daily.0/sub": directory({}), "other/daily.0": directory({}), host1: directory({}) });
  const points = [join(target, "daily.0/sub"), join(target, "host1")];
  for (const point of points) run("mount", "--bind", join(target, "other"), point);
  try {
    for (const dryRun of [["--dry-run"], []]) {
      const done = migrateJson([...dryRun, source, target]);
      expect({ code: done.code, failures: failuresOf(done).sort() }).toEqual({
        code: 3,
        failures: ["daily.0/sub EXDEV", "host1 EXDEV", "host1/daily.0 EXDEV"],
      });
    }
  } finally {
    for (const point of points) run("umount", point);
  }
  expect(readdirSync(join(target, "other/daily.0"))).toEqual([]);
});

test.skipIf(!able)("what cannot take its place leaves nothing in staging", () => {
  makeTree(source, { "daily.0/a": file("a\n") });
  expect(migrateJson([source, target]).code).toBe(0);
  writeFileSync(join(source, "daily.0/a"), "changed\n");
  run("chattr", "+i", join(target, "daily.0/a"));
  try {
    const done = migrateJson([source, target]);
    expect({ code: done.code, failures: failuresOf(done) }).toEqual({
      code: 3,
      failures: ["daily.0/a EPERM"],
    });
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  } finally {
    run("chattr", "-i", join(target, "daily.0/a"));
  }
});

test.skipIf(!able)("a directory that is not empty does not leave its place without --delete", async () => {
  makeTree(source, { "host2/daily.0/p": file("precious\n"), "host1/daily.0/a": file("a\n") });
  expect(migrateJson([source, target]).code).toBe(0);
  rmSync(join(source, "host2"), { recursive: true });
  writeFileSync(join(source, "host2"), "a file\n");
  const rule = {
    ...{ calls: ["renameat2"], path: "host2" },
    action: { type: "kill", when: "after" },
  } as const;
  await migrate(source, target, { plan: { rules: [rule] } });
  const done = migrateJson([source, target]);
  expect({ code: done.code, failures: failuresOf(done) }).toEqual({ code: 3, failures: ["host2 EISDIR"] });
  expect(readFileSync(join(target, "host2/daily.0/p"), "utf8")).toBe("precious\n");
});

describe.skipIf(!able)("--delete", () => {
  it.each([[[]], [["--one-file-system"]]])(
    "keeps what is mounted below a doomed name (%j)",
    async (options) => {
      migrateTwoDays();
      await withMountAt(join(target, "misc/usb"), (mount) => {
        for (const dryRun of [["--dry-run"], []]) {
          const done = migrateJson([...options, ...dryRun, "--delete", source, target]);
          expect({ code: done.code, failures: failuresOf(done) }).toEqual({
            code: 3,
            failures: ["misc EBUSY"],
          });
          expect(readFileSync(join(mount, "precious"), "utf8")).toBe("precious\n");
        }
      });
      expect(migrateJson(["--delete", source, target]).code).toBe(0);
      expect(existsSync(join(target, "misc"))).toBe(false);
    },
  );

  it("keeps what is mounted below a directory that became a file", async () => {
    migrateTwoDays();
    rmSync(join(source, "daily.0/dir"), { recursive: true });
    writeFileSync(join(source, "daily.0/dir"), "a file\n");
    await withMountAt(join(target, "daily.0/dir/usb"), (mount) => {
      for (const dryRun of [["--dry-run"], []]) {
        const done = migrateJson([...dryRun, "--delete", source, target]);
        expect({ code: done.code, failures: failuresOf(done) }).toEqual({
          code: 3,
          failures: ["daily.0/dir EISDIR"],
        });
        expect(readFileSync(join(mount, "precious"), "utf8")).toBe("precious\n");
      }
    });
    expect(migrateJson(["--delete", source, target]).code).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("does not enter what was mounted in the moment before", async () => {
    migrateTwoDays();
    rmSync(join(source, "daily.1"), { recursive: true });
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB }, async (mount) => {
      writeFileSync(join(mount, "precious"), "precious\n");
      const command = `mount --bind ${mount} ${target}/daily.1/sub`;
      const rule = {
        calls: ["renameat2"],
        path: "daily.1",
        action: { type: "run", when: "before", command },
      } as const;
      const { code, failures } = await migrate(source, target, {
        plan: { rules: [rule] },
        args: ["--delete"],
      });
      try {
        expect(readFileSync(join(mount, "precious"), "utf8")).toBe("precious\n");
        expect({ code, failures: failures.map(({ path }) => path) }).toEqual({
          code: 3,
          failures: ["daily.1"],
        });
      } finally {
        run("umount", join(target, "daily.1/sub"));
      }
    });
    expect(migrateJson(["--delete", source, target]).code).toBe(0);
    expect(readdirSync(target)).toEqual([".dedupe", "daily.0"]);
  });

  it("leaves what took the place of a doomed snapshot meanwhile", async () => {
    migrateTwoDays();
    rmSync(join(source, "daily.1"), { recursive: true });
    const rotate = `mv ${target}/daily.1 ${target}/daily.2 && mkdir ${target}/daily.1 && echo new > ${target}/daily.1/p`;
    const rule = {
      calls: ["renameat2"],
      path: "daily.1",
      action: { type: "run", when: "before", command: rotate },
    } as const;
    const { code, failures } = await migrate(source, target, { plan: { rules: [rule] }, args: ["--delete"] });
    expect({ code, failures: failures.map(({ path, code }) => `${path} ${code}`) }).toEqual({
      code: 3,
      failures: ["daily.1 CHANGED"],
    });
    expect(readFileSync(join(target, "daily.1/p"), "utf8")).toBe("new\n");
    expect(readFileSync(join(target, "daily.2/a"), "utf8")).toBe("older\n");
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  });

  it("keeps what took that place where the run dies before it can put it back", async () => {
    migrateTwoDays();
    rmSync(join(source, "daily.1"), { recursive: true });
    const rotate = `mv ${target}/daily.1 ${target}/daily.2 && mkdir ${target}/daily.1 && echo new > ${target}/daily.1/p`;
    const rules = [
      { calls: ["renameat2"], path: "daily.1", action: { type: "run", when: "before", command: rotate } },
      { calls: ["renameat2"], path: "daily.1", action: { type: "kill", when: "after" } },
    ] as const;
    expect((await migrate(source, target, { plan: { rules }, args: ["--delete"] })).code).toBeNull();
    const staging = join(target, ".dedupe/staging");
    for (const [code, command] of [
      [0, ["migrate", source, target]],
      [4, ["compact", target]],
      [0, ["migrate", source, target]],
    ] as const) {
      expect(dedupe(command).code).toBe(code);
      expect(readdirSync(staging).map((name) => readFileSync(join(staging, name, "p"), "utf8"))).toEqual([
        "new\n",
      ]);
    }
    const { events } = migrateJson([source, target]);
    expect(events.filter(({ code }) => code === "LEFTOVER")).toHaveLength(1);
  });

  it("does not take a filesystem that left the source during the run for deleted", async () => {
    await withMountAt(join(source, "host1"), async () => {
      makeTree(source, { "daily.0/a": file("a\n"), "host1/p": file("p\n") });
      expect(migrateJson([source, target]).code).toBe(0);
      const rule = {
        calls: ["getdents64"],
        path: "/daily.0",
        action: { type: "run", when: "before", command: `umount -l ${source}/host1` },
      } as const;
      const { code, summary } = await migrate(source, target, {
        plan: { rules: [rule] },
        args: ["-j1", "--delete"],
      });
      expect({ code, error: summary?.error?.code }).toEqual({ code: 1, error: "SOURCE_LOST_FILESYSTEM" });
    });
    expect(readFileSync(join(target, "host1/p"), "utf8")).toBe("p\n");
    expect(migrateJson(["--delete", source, target]).err).toMatch(/has lost the filesystem at host1 since/);
    expect(readFileSync(join(target, "host1/p"), "utf8")).toBe("p\n");
  });

  it("notices that one of two places where a filesystem was mounted lost it", async () => {
    await withMountAt(join(source, "host1"), (mount) => {
      const second = join(source, "host2");
      mkdirSync(second);
      makeTree(source, { "daily.0/a": file("a\n"), "host1/p": file("p\n") });
      run("mount", "--bind", mount, second);
      expect(migrateJson(["--delete", source, target]).code).toBe(0);
      run("umount", second);
      expect(migrateJson(["--delete", source, target]).err).toMatch(/has lost the filesystem at host2 since/);
      // A run that did not look there forgets nothing.
      expect(migrateJson(["-x", "--delete", source, target]).code).toBe(0);
      expect(migrateJson(["--delete", source, target]).err).toMatch(/has lost the filesystem at host2 since/);
    });
  });

  it("counts what is mounted twice on one point as one filesystem, as an automounter does it", async () => {
    const point = join(source, "host1");
    await withMountAt(point, (mount) => {
      makeTree(source, { "daily.0/a": file("a\n"), "host1/p": file("p\n") });
      run("mount", "--bind", mount, point);
      expect(migrateJson(["--delete", source, target]).code).toBe(0);
      run("umount", point);
      expect(migrateJson(["--delete", source, target]).code).toBe(0);
    });
  });

  it("does not forget the source's own filesystem over a run that met another and removed nothing", async () => {
    await withMountAt(source, () => {
      makeTree(source, { "daily.0/a": file("a\n") });
      expect(migrateJson([source, target]).code).toBe(0);
    });
    makeTree(source, { "daily.1/b": file("b\n") });
    expect(migrateJson(["-x", source, target]).code).toBe(0);
    expect(migrateJson(["--delete", source, target]).err).toMatch(/is on another filesystem than that of/);
    expect(readFileSync(join(target, "daily.0/a"), "utf8")).toBe("a\n");
  });

  it("puts back what cannot be removed whole, and no later run stumbles over it", () => {
    migrateTwoDays();
    rmSync(join(source, "daily.1"), { recursive: true });
    const immutable = join(target, "daily.1/sub/deep/f");
    run("chattr", "+i", immutable);
    try {
      const done = migrateJson(["--delete", source, target]);
      expect({ code: done.code, failures: failuresOf(done) }).toEqual({
        code: 3,
        failures: ["daily.1 EPERM"],
      });
      expect(readFileSync(immutable, "utf8")).toBe("f\n");
      expect(migrateJson([source, target]).code).toBe(0);
    } finally {
      run("chattr", "-i", immutable);
    }
    expect(migrateJson(["--delete", source, target]).code).toBe(0);
    expect(readdirSync(target)).toEqual([".dedupe", "daily.0"]);
  });

  it("goes on beside a leftover that cannot be removed, and says where it is", () => {
    migrateTwoDays();
    const staging = join(target, ".dedupe/staging");
    makeTree(join(staging, "t0"), { "sub/kept": file("kept\n") });
    run("chattr", "+i", join(staging, "t0/sub/kept"));
    try {
      rmSync(join(source, "daily.1"), { recursive: true });
      writeFileSync(join(source, "daily.0/a"), "changed\n");
      for (let round = 0; round < 2; round++) {
        const { code, events } = migrateJson(["--delete", source, target]);
        expect(code).toBe(0);
        expect(events.filter(({ code: each }) => each === "LEFTOVER")).toMatchObject([
          { message: expect.stringContaining(".dedupe/staging/left.0 on the target is left over") as string },
        ]);
      }
      expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
      const compacted = dedupe(["compact", "--no-progress", target]);
      expect([compacted.code, compacted.err]).toMatchObject([3, expect.stringContaining("staging/left.0")]);
    } finally {
      run("chattr", "-i", join(staging, "left.0/sub/kept"));
    }
    expect(migrateJson([source, target]).code).toBe(0);
    expect(readdirSync(staging)).toEqual([]);
  });

  it("counts and removes a tree 3,000 levels deep within --max-delete", () => {
    migrateTwoDays();
    makeDeep(join(target, "deep"), 3000);
    const held = migrateJson(["--delete", "--max-delete", "2", source, target]);
    expect(held.summary).toMatchObject({ exitCode: 3, heldDeletes: 1, deletedNames: 0 });
    expect(migrateJson(["--delete", "--max-delete", "4000", source, target]).summary).toMatchObject({
      exitCode: 0,
      deletedNames: 3001,
    });
  });
});

/** A file of the filesystem with this inode number. */
function withInode(mount: string, ino: number): string {
  for (let number = 0; ; number++) {
    const path = join(mount, String(number));
    writeFileSync(path, "foreign\n");
    const found = statSync(path).ino;
    if (found === ino) return path;
    if (found > ino) throw new Error(`no file of ${mount} got inode ${String(ino)}`);
  }
}

/** Below a path that is as long as that one directory after the other has to be entered. */
function makeDeep(path: string, levels: number): void {
  const script = `import os,sys
os.mkdir(sys.argv[1]); os.chdir(sys.argv[1])
for _ in range(int(sys.argv[2])): os.mkdir("d"); os.chdir("d")`;
  run("/usr/bin/python3", "-c", script, path, String(levels));
}
