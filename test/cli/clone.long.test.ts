import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copyProject, npm } from "../support/installation.ts";
import { compareTrees } from "../support/oracle.ts";
import { isLinked, makeTwoSnapshots } from "../support/two-snapshots.ts";

// Each test installs all packages: half a minute.
describe("a fresh clone", { timeout: 300_000 }, () => {
  let work = "";
  const at = (name: string) => join(work, name);

  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), "dedupe-clone-"));
    copyProject(at("clone"), "none");
    makeTwoSnapshots(at("source"));
    mkdirSync(at("target"));
  });

  afterEach(() => rmSync(work, { recursive: true, force: true }));

  it("migrates with `npm start -- migrate`, without another step", () => {
    npm(at("clone"), "start", "--silent", "--", "migrate", at("source"), at("target"));
    expect(compareTrees(at("source"), at("target"))).toEqual([]);
    expect(isLinked(at("target"))).toBe(true);
  });

  it("gives a working dedupe with `npm install -g .`", () => {
    npm(at("clone"), "install", "--global", "--prefix", at("prefix"), ".");
    execFileSync(join(at("prefix"), "bin", "dedupe"), ["migrate", at("source"), at("target")], { cwd: "/" });
    expect(compareTrees(at("source"), at("target"))).toEqual([]);
    expect(isLinked(at("target"))).toBe(true);
  });
});
