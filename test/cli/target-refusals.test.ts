import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { migrateWell } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { requirement, requireTool } from "../support/skip.ts";
import { file, makeTree, symlink } from "../support/tree.ts";

const able =
  requirement(process.getuid?.() === 0, "needs root") && requireFilesystem("ext4") && requireTool("chattr");

useFolders();

/** What a run says that could not be done. */
function failures(...args: string[]): Record<string, string> {
  const { code, events } = migrateJson(args);
  expect(code).toBe(3);
  return Object.fromEntries(
    events
      .filter(({ type }) => type === "failure")
      .map(({ path, code, message }) => [String(path), `${String(code)}: ${String(message)}`]),
  );
}

describe.skipIf(!able)("of what is immutable or append-only on the target", () => {
  const chattr = (flag: string, ...path: string[]) =>
    execFileSync("chattr", [flag, join(target, ...path)], { stdio: "ignore" });

  it.each(["i", "a"])("a run says what it is, and what to do (+%s)", (flag) => {
    const original = { "daily.0/a": file("a\n"), "daily.0/sub/b": file("b\n"), "daily.0/c": file("c\n") };
    makeTree(source, { ...original, "daily.9/x/y": file("y\n") });
    migrateWell(source, target);
    const changed = ["daily.0/a", "daily.0/sub", "daily.0/c", "daily.9/x/y"];
    for (const path of changed) chattr(`+${flag}`, path);
    try {
      rmSync(join(source, "daily.9"), { recursive: true });
      mkdirSync(join(source, "daily.1"));
      linkSync(join(source, "daily.0/a"), join(source, "daily.1/a"));
      for (const name of ["c", "sub/b"]) writeFileSync(join(source, "daily.0", name), "changed\n");
      const said = failures("--delete", source, target);
      expect(said["daily.0/c"]).toMatch(
        /^EPERM: it is immutable or append-only on the target: chattr -ia it/,
      );
      expect(said["daily.0/sub/b"]).toMatch(/^EPERM: its directory is immutable or append-only/);
      expect(said["daily.9"]).toMatch(/^EPERM: .* \(unlinkat on the target\); lsattr -aR shows/);
      const [, object] = / chattr -ia (\.dedupe\/\S+) there/.exec(said["daily.1/a"]!) ?? [];
      chattr("-ia", object!);
    } finally {
      for (const path of changed) chattr("-ia", path);
    }
    migrateWell("--delete", source, target);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  });
});

it.skipIf(!able)("says that a symlink is longer than the target's filesystem takes", async () => {
  makeTree(source, {
    "daily.0/longest": symlink("l".repeat(1023)),
    "daily.0/too long": symlink("l".repeat(1024)),
  });
  await withFilesystem({ type: "ext4", sizeBytes: 2 ** 25, options: ["-b", "1024"] }, (mount) => {
    expect(failures(source, mount)).toEqual({
      "daily.0/too long":
        "ENAMETOOLONG: it is a symlink to 1024 bytes, which is more than the target's filesystem takes",
    });
    expect(readdirSync(join(mount, "daily.0"))).toEqual(["longest"]);
  });
});
