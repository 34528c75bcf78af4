import { execFileSync } from "node:child_process";
import { linkSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFMT } from "../../src/sys/constants.ts";
import { Stat, makeDevice } from "../../src/sys/stat.ts";
import { openKernel } from "../support/kernel.ts";

const kernel = openKernel();
const stat = new Stat(kernel.sys);
let work = "";

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-stat-"));
  writeFileSync(join(work, "file"), "content", { mode: 0o640 });
  linkSync(join(work, "file"), join(work, "second"));
  symlinkSync("file", join(work, "link"));
  execFileSync("mkfifo", [join(work, "fifo")]);
  writeFileSync(join(work, "sparse"), "");
  truncateSync(join(work, "sparse"), 5_000_000_000);
  execFileSync("touch", ["-h", "-d", "@-1.5", join(work, "link")]);
  execFileSync("touch", ["-d", "@4294967297.123456789", join(work, "file")]);
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** What Python, which asks the kernel by another way, says of the path. */
function byPython(path: string): Record<string, string> {
  const script =
    "import os,sys,json;s=os.lstat(sys.argv[1]);" +
    "print(json.dumps({k:str(getattr(s,k)) for k in dir(s) if k.startswith('st_')}" +
    "|{'major':str(os.major(s.st_dev)),'minor':str(os.minor(s.st_dev)),'rmajor':str(os.major(s.st_rdev)),'rminor':str(os.minor(s.st_rdev))}))";
  return JSON.parse(execFileSync("python3", ["-c", script, path], { encoding: "utf8" })) as Record<
    string,
    string
  >;
}

describe("a stat", () => {
  it.each(["file", "second", "link", "fifo", "sparse", ".", "/dev/null", "/proc/self", "/"])(
    "of %s says what Python says",
    (name) => {
      const path = name.startsWith("/") ? name : join(work, name);
      const real = byPython(path);
      expect(kernel.sys.statx(AT_FDCWD, kernel.scratch.text(path), AT_SYMLINK_NOFOLLOW, stat.address)).toBe(
        0,
      );
      expect({
        st_mode: String(stat.mode),
        st_nlink: String(stat.nlink),
        st_uid: String(stat.uid),
        st_gid: String(stat.gid),
        st_size: String(stat.sizeBytes),
        st_blocks: String(stat.blocks),
        st_mtime_ns: String(stat.mtimeNs),
        rmajor: String(stat.rdevMajor),
        rminor: String(stat.rdevMinor),
      }).toEqual({
        st_mode: real["st_mode"],
        st_nlink: real["st_nlink"],
        st_uid: real["st_uid"],
        st_gid: real["st_gid"],
        st_size: real["st_size"],
        st_blocks: real["st_blocks"],
        st_mtime_ns: real["st_mtime_ns"],
        rmajor: real["rmajor"],
        rminor: real["rminor"],
      });
      expect(stat.device).toBe(((Number(real["major"]) << 20) | Number(real["minor"])) >>> 0);
      if (name !== "/proc/self") {
        expect(String(stat.ino)).toBe(real["st_ino"]);
        expect(String(stat.ctimeNs)).toBe(real["st_ctime_ns"]);
        expect(BigInt(stat.inoHigh) * 2n ** 32n + BigInt(stat.inoLow)).toBe(stat.ino);
      }
      expect(stat.type).toBe(stat.mode & S_IFMT);
    },
  );
});

describe("a device number", () => {
  it.each([
    [0, 0],
    [1, 3],
    [8, 255],
    [259, 256],
    [4095, 1_048_575],
    [300, 70_000],
  ])("of %d:%d is the C library's", (major, minor) => {
    const script = `import os;print(os.makedev(${major},${minor}))`;
    const real = Number(execFileSync("python3", ["-c", script], { encoding: "utf8" }));
    expect(makeDevice(major, minor)).toBe(real);
  });
});
