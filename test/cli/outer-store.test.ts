import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { migrateWell } from "../support/migrate.ts";
import { relinkWell } from "../support/relink.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

const said = (events: readonly { type: string; code?: unknown; message?: unknown }[]) =>
  events.filter(({ code }) => code === "STORE_ABOVE").map(({ message }) => message);

describe("a target inside another one", () => {
  it("is told of by migrate and relink, and by their dry runs, until it has a store of its own", () => {
    makeTree(source, { "daily.0/deep/file": file("content\n") });
    const outer = join(work, "t\u00fc");
    mkdirSync(outer);
    expect(said(migrateWell(source, outer).events)).toEqual([]);
    const [snapshot, other] = [join(outer, "daily.0"), join(outer, "other/root")];
    mkdirSync(other, { recursive: true });
    const expected = (path: string) => [
      `the target ${path} lies inside ${outer}, which has a store of its own: one made here knows nothing of that one. To use that one, name ${outer}`,
    ];
    expect(said(relinkWell("-n", snapshot).events)).toEqual(expected(snapshot));
    expect(said(relinkWell(snapshot).events)).toEqual(expected(snapshot));
    expect(said(relinkWell(snapshot).events)).toEqual([]);
    expect(said(migrateJson(["-n", source, other]).events)).toEqual(expected(other));
    expect(said(migrateWell(source, other).events)).toEqual(expected(other));
    expect(said(migrateWell(source, other).events)).toEqual([]);
  });

  it.skipIf(!requireFilesystem("tmpfs"))("is not told of where another drive is mounted inside", () => {
    makeTree(source, { "daily.0/file": file("content\n") });
    migrateWell(source, target);
    const drive = join(target, "daily.0/drive");
    mkdirSync(drive);
    execFileSync("mount", ["-t", "tmpfs", "none", drive]);
    try {
      expect(said(migrateWell(source, drive).events)).toEqual([]);
    } finally {
      execFileSync("umount", [drive]);
    }
  });
});
