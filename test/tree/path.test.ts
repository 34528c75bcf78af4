import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { componentsOf, isWithin, makeBelow, openBelow, parentAndName } from "../../src/tree/path.ts";
import { openFolder, openKernel } from "../support/kernel.ts";

const kernel = openKernel();
let work = "";
let fd = -1;

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-path-"));
  fd = openFolder(work);
});

afterEach(() => {
  kernel.sys.close(fd);
  execFileSync("rm", ["-rf", work]);
});

describe("a path", () => {
  it("falls into its components", () => {
    const split = (path: string) => componentsOf(Buffer.from(path)).map(String);
    expect(split("")).toEqual([]);
    expect(split("a")).toEqual(["a"]);
    expect(split("a/b//c/")).toEqual(["a", "b", "c"]);
  });

  it("falls into parent and name", () => {
    const split = (path: string) => Object.values(parentAndName(Buffer.from(path))).map(String);
    expect(split("a")).toEqual(["", "a"]);
    expect(split("a/b/c")).toEqual(["a/b", "c"]);
  });

  it("may be longer than the kernel takes in one call", () => {
    const long = Buffer.from(Array.from({ length: 40 }, () => "x".repeat(200)).join("/"));
    kernel.sys.close(makeBelow(kernel, fd, long));
    const opened = openBelow(kernel, fd, long);
    expect(opened).toBeGreaterThan(0);
    kernel.sys.close(opened);
  });

  it("does not lead through a symlink", () => {
    mkdirSync(join(work, "real/inner"), { recursive: true });
    symlinkSync("real", join(work, "link"));
    expect(openBelow(kernel, fd, Buffer.from("link/inner"))).toBeLessThan(0);
    expect(() => makeBelow(kernel, fd, Buffer.from("link/made"))).toThrow(/ELOOP|ENOTDIR/);
    expect(openBelow(kernel, fd, Buffer.from("missing"))).toBe(-2);
  });

  it("is made private where it is missing, and left alone where it is there", () => {
    mkdirSync(join(work, "a"), { mode: 0o755 });
    for (let round = 0; round < 2; round++) kernel.sys.close(makeBelow(kernel, fd, Buffer.from("a/b")));
    expect([statSync(join(work, "a")).mode & 0o777, statSync(join(work, "a/b")).mode & 0o777]).toEqual([
      0o755, 0o700,
    ]);
  });

  it("knows what it lies in", () => {
    mkdirSync(join(work, "a/b"), { recursive: true });
    mkdirSync(join(work, "ab"));
    const [a, b, ab, root] = ["a", "a/b", "ab"]
      .map((name) => openFolder(join(work, name)))
      .concat(openFolder("/"));
    expect([isWithin(kernel, b!, a!), isWithin(kernel, a!, a!), isWithin(kernel, a!, root!)]).toEqual([
      true,
      true,
      true,
    ]);
    expect([isWithin(kernel, a!, b!), isWithin(kernel, ab!, a!), isWithin(kernel, root!, a!)]).toEqual([
      false,
      false,
      false,
    ]);
    rmSync(join(work, "ab"), { recursive: true });
  });
});
