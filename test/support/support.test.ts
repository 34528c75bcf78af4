import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeFilesystem, requireFilesystem, withFilesystem } from "./filesystem.ts";
import type { FilesystemType } from "./filesystem.ts";
import { makeHostileTree } from "./hostile.ts";
import { compareReport, compareTrees } from "./oracle.ts";
import { makeRsnapshotRoot, requireRsnapshot } from "./rsnapshot.ts";
import { requirement } from "./skip.ts";
import {
  device,
  directory,
  fifo,
  file,
  linkTo,
  makeTree,
  readTree,
  socket,
  sparse,
  symlink,
} from "./tree.ts";

const MiB = 2 ** 20;
const root = requirement(process.getuid?.() === 0, "needs root");
const types: readonly FilesystemType[] = ["ext4", "ext3", "ext3-128", "xfs", "btrfs", "tmpfs"];
const able = types.every(requireFilesystem);

let work = "";

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-support-"));
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

describe.skipIf(!root)("a tree literal", () => {
  it("reads back as it was written", () => {
    const tree = {
      ".": directory({ mode: 0o700, mtimeNs: 5n }),
      "daily.0/a": file("x", { mode: 0o4755, uid: 1000, gid: 4294967294, mtimeNs: -1n }),
      "daily.0/bytes \udcff\n": file(
        Buffer.from([0, 255, 0xc3, 0x28, 0xf0, 0x9f, 0x99, 0x82, 0xed, 0xa0, 0x80]),
      ),
      "daily.0/empty": file(""),
      "daily.0/locked": directory({ mode: 0, xattrs: { "user.d": "é" } }),
      "daily.0/locked/inner": file("in"),
      "daily.1/a": linkTo("daily.0/a"),
      "daily.1/none": directory(),
      "daily.1/set": file("y", { xattrs: { "user.x": "\udc80\0", "trusted.y": "" } }),
      holes: sparse([8192, "x".repeat(4096), 4096]),
      k: socket({ mode: 0o600 }),
      n: device("c", 300, 70000),
      o: device("b", 1, 3),
      p: fifo({ mtimeNs: 9n }),
      s: symlink("no/\udcfe", { uid: 7, mtimeNs: 4_294_967_296_000_000_001n }),
      z: linkTo("s"),
    };
    makeTree(join(work, "tree"), tree);
    expect(readTree(join(work, "tree"))).toEqual(tree);
  });
});

describe.skipIf(!able)("a filesystem of its own", () => {
  it.each(types)("is made as %s, mounted, and gone afterwards", async (type) => {
    const seen = await withFilesystem({ type, sizeBytes: 320 * MiB }, (mountPoint, filesystem) => {
      writeFileSync(join(mountPoint, "kept"), "x");
      expect(run("stat", "-f", "-c", "%T", mountPoint).trim()).toBe(
        type.startsWith("ext") ? "ext2/ext3" : type,
      );
      if (type !== "tmpfs") filesystem.cycle("ro");
      else filesystem.remount("ro");
      expect(readFileSync(join(mountPoint, "kept"), "utf8")).toBe("x");
      expect(() => writeFileSync(join(mountPoint, "new"), "")).toThrow("EROFS");
      return mountPoint;
    });
    expect(existsSync(join(seen, ".."))).toBe(false);
    expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(seen);
  });

  it("holds one-second times with 128-byte inodes", async () => {
    await withFilesystem({ type: "ext3-128", sizeBytes: 64 * MiB }, (mountPoint) => {
      run("touch", "-d", "@1600000000.5", join(mountPoint, "x"));
      expect(statSync(join(mountPoint, "x"), { bigint: true }).mtimeNs).toBe(1_600_000_000_000_000_000n);
    });
  });

  it.each(["ext4", "ext3", "xfs", "btrfs"] as const)("shows what a power cut leaves of %s", (type) => {
    const filesystem = makeFilesystem({ type, sizeBytes: 320 * MiB, imageOn: "xfs" });
    try {
      writeFileSync(join(filesystem.mountPoint, "before"), "durable");
      run("sync", "-f", filesystem.mountPoint);
      writeFileSync(join(filesystem.mountPoint, "cached"), "in memory alone");
      const cut = filesystem.snapshotImage();
      filesystem.snapshotImage().delete();
      rmSync(join(filesystem.mountPoint, "before"));
      const mounted = cut.mount();
      expect(readFileSync(join(mounted.mountPoint, "before"), "utf8")).toBe("durable");
      expect(existsSync(join(mounted.mountPoint, "cached"))).toBe(false);
      mounted.close();
    } finally {
      filesystem.close();
    }
    expect(existsSync(join(filesystem.mountPoint, ".."))).toBe(false);
  });
});

describe.skipIf(!requireRsnapshot())("a real rsnapshot root", () => {
  it.each(["cp -al", "rsync --link-dest"])("is made by %s and goes on elsewhere", (how) => {
    const place = mkdtempSync(join(work, "rsnapshot-"));
    const linkDest = how !== "cp -al";
    const made = makeRsnapshotRoot(join(place, "root"), { snapshots: 3, scale: 0.03, linkDest });
    try {
      expect(readdirSync(made.root).sort()).toEqual(["daily.0", "daily.1", "daily.2"]);
      expect(compareTrees(made.live, made.inSnapshot("daily.0"))).toEqual([]);
      const copy = join(place, "copy");
      run("cp", "-a", made.root, copy);
      made.change();
      made.backup(copy);
      expect(compareTrees(made.live, made.inSnapshot("daily.0", copy))).toEqual([]);
      // What did not change is linked: four snapshots have far fewer inodes than names.
      const { names, inodes } = compareReport(copy, copy);
      expect(inodes.a).toBeLessThan(names.a / 2);
    } finally {
      made.close();
    }
  });
});

describe.skipIf(!able)("the hostile tree", () => {
  it("is whole on ext4; cp -a keeps all of it but the paths beyond PATH_MAX", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 1024 * MiB }, (mountPoint) => {
      const hostile = makeHostileTree(join(mountPoint, "source"));
      expect(hostile.unsupported).toEqual([]);
      const copy = join(mountPoint, "copy");
      expect(() => run("cp", "-a", hostile.root, copy)).toThrow("File name too long");
      const differences = compareTrees(hostile.root, copy);
      const short = differences.filter(({ path }) => path.length < 4000);
      expect(short).toEqual([]);
      expect(differences.length).toBeGreaterThan(400);
      hostile.close();
      expect(existsSync(hostile.root)).toBe(false);
    });
  });

  it("is read by the oracle with few descriptors", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 1024 * MiB }, (mountPoint) => {
      const hostile = makeHostileTree(join(mountPoint, "source"), { entries: 10 });
      const command = `ulimit -n 256; python3 -B "$0" compare "$1" "$1"`;
      const script = join(import.meta.dirname, "oracle.py");
      const report = JSON.parse(run("bash", "-c", command, script, hostile.root)) as { counts: object };
      expect(report.counts).toEqual({});
      hostile.close();
    });
  });
});
