import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  ensureDirectory,
  openDirectory,
  openRoot,
  readAt,
  readFile,
  writeFileDurably,
} from "../../src/sys/files.ts";
import { openFolder, openKernel } from "../support/kernel.ts";

const kernel = openKernel();
let work = "";
let fd = -1;

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-files-"));
  fd = openFolder(work);
});

afterEach(() => {
  kernel.sys.close(fd);
  rmSync(work, { recursive: true, force: true });
});

describe("files", () => {
  it("are read whole, whatever their size, and undefined where there is none", () => {
    const content = Buffer.alloc(200_001, "abc");
    writeFileSync(join(work, "big"), content);
    writeFileSync(join(work, "empty"), "");
    expect(readFile(kernel, fd, "big")?.equals(content)).toBe(true);
    expect(readFile(kernel, fd, "empty")).toEqual(Buffer.alloc(0));
    expect(readFile(kernel, fd, "missing")).toBeUndefined();
    expect(() => readFile(kernel, fd, ".")).toThrow(/EISDIR/);
  });

  it("are read in part, to their end at most", () => {
    writeFileSync(join(work, "ten"), "0123456789");
    const ten = kernel.sys.openat(fd, kernel.scratch.text("ten"), 0, 0);
    expect(readAt(kernel, ten, 8, 10).toString()).toBe("89");
    expect(readAt(kernel, ten, 20, 10)).toHaveLength(0);
    kernel.sys.close(ten);
  });

  it("are written whole or not at all, in place of what was there, even after a killed run", () => {
    writeFileSync(join(work, "f.new"), "left over");
    for (const content of ["first", "", "x".repeat(100_000)]) {
      writeFileDurably(kernel, fd, "f", Buffer.from(content));
      expect(readFileSync(join(work, "f"), "utf8")).toBe(content);
      expect(readdirSync(work)).toEqual(["f"]);
    }
    expect(statSync(join(work, "f")).mode & 0o777).toBe(0o600);
  });
});

describe("directories", () => {
  it("are made private once, and opened again", () => {
    for (let round = 0; round < 2; round++) kernel.sys.close(ensureDirectory(kernel, fd, "d"));
    expect(statSync(join(work, "d")).mode & 0o777).toBe(0o700);
  });

  it("are not opened through a symlink, unless the user named it", () => {
    mkdirSync(join(work, "real"));
    symlinkSync("real", join(work, "link"));
    expect(() => openDirectory(kernel, fd, "link")).toThrow(/ENOTDIR|ELOOP/);
    kernel.sys.close(openRoot(kernel, join(work, "link")));
  });

  it("are refused in words where the path is too long", () => {
    expect(() => openRoot(kernel, "/x".repeat(2048))).toThrow(/ENAMETOOLONG/);
  });
});
