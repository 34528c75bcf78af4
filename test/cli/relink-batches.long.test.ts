import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeFilesystem, requireFilesystem, type Filesystem } from "../support/filesystem.ts";
import { makeManyNames } from "../support/many-names.ts";
import { migrateWell } from "../support/migrate.ts";
import { relinkWell } from "../support/relink.ts";
import { flip, objectOf } from "../support/store-objects.ts";
import { verify } from "../support/verify.ts";

/** Three times this is more than a batch takes: what the last inode by number has is in the second one. */
const NAMES = 45_000;
/** The newest snapshot, whose inode is to survive, is made last. */
const DAYS = [4, 3, 2, 1];

describe.skipIf(!requireFilesystem("xfs"))("a class of more names than a batch takes", () => {
  let disk: Filesystem;
  beforeAll(() => {
    // No limit of links.
    disk = makeFilesystem({ type: "xfs", sizeBytes: 2 ** 30 });
  });
  afterAll(() => disk.close());

  // The object is found to be damaged in the first batch; what is to take its name is known there.
  it.each([
    { name: "whose object nobody names, and is damaged", spoil: (object: string) => flip(object, 3) },
    { name: "whose object nobody names", spoil: () => undefined },
  ])("$name", ({ spoil }) => {
    const folder = mkdtempSync(join(disk.mountPoint, "batches-"));
    const [source, target] = [join(folder, "source"), join(folder, "target")];
    makeManyNames(source, { kind: "file", snapshots: 1, namesInEach: 2 });
    mkdirSync(target);
    migrateWell(source, target);
    const object = join(target, objectOf(target, "daily.0/0"));
    for (const day of DAYS) {
      const copy = join(folder, `copy.${String(day)}`);
      makeManyNames(copy, { kind: "file", snapshots: 1, namesInEach: NAMES });
      renameSync(join(copy, "daily.0"), join(target, `daily.${String(day)}`));
    }
    rmSync(join(target, "daily.0"), { recursive: true });
    spoil(object);
    relinkWell(target);
    const { ino, nlink } = statSync(join(target, "daily.1/0"));
    expect(nlink).toBe(DAYS.length * NAMES + 1);
    expect(statSync(join(target, objectOf(target, "daily.3/7"))).ino).toBe(ino);
    for (const day of DAYS) expect(readdirSync(join(target, `daily.${String(day)}`))).toHaveLength(NAMES);
    expect(verify([target])).toMatchObject({ code: 0, found: [] });
    rmSync(folder, { recursive: true });
  });
});
