import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { copyProject, npm, projectRoot } from "../support/installation.ts";
import { compareTrees } from "../support/oracle.ts";
import { isLinked, makeTwoSnapshots } from "../support/two-snapshots.ts";

describe("the packed tarball", () => {
  const work = mkdtempSync(join(tmpdir(), "dedupe-package-"));
  let packed: string[] = [];
  const dedupe = (...args: string[]) =>
    execFileSync(join(work, "node_modules", ".bin", "dedupe"), args, { encoding: "utf8", cwd: "/" });

  beforeAll(() => {
    const clone = join(work, "clone");
    copyProject(clone, "linked");
    npm(clone, "pack", "--silent", "--pack-destination", work);
    const tarball = join(work, `dedupe-${version()}.tgz`);
    packed = execFileSync("tar", ["--list", "--file", tarball], { encoding: "utf8" })
      .trim()
      .split("\n")
      .sort();
    npm(work, "install", "--prefix", work, "--ignore-scripts", "--prefer-offline", "--silent", tarball);
  }, 300_000);

  afterAll(() => rmSync(work, { recursive: true, force: true }));

  it("holds the program, its licence and its documents, and nothing else", () => {
    const places = packed.map((path) => /^package\/((?:bin\/)?[^/]+)/.exec(path)?.[1] ?? path);
    expect([...new Set(places)]).toEqual([
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "bin/dedupe.js",
      "dist",
      "docs",
      "package.json",
    ]);
  });

  it("holds no sources and no tests", () => {
    const programs = packed.filter((path) => /^package\/(bin|dist)\//.test(path));
    expect(programs.filter((path) => !path.endsWith(".js"))).toEqual([]);
    expect(packed.filter((path) => /\b(tests?|faults)\//.test(path))).toEqual([]);
  });

  it("installs a dedupe that prints its version", () => {
    expect(dedupe("--version").trim()).toContain(version());
  });

  it("installs a dedupe that migrates snapshots and keeps their hard links", () => {
    const [source, target] = [join(work, "source"), join(work, "target")];
    makeTwoSnapshots(source);
    mkdirSync(target);
    dedupe("migrate", source, target);
    expect(compareTrees(source, target)).toEqual([]);
    expect(isLinked(target)).toBe(true);
  });
});

function version(): string {
  const manifest = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8")) as { version: string };
  return manifest.version;
}
