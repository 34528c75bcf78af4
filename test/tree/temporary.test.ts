import { mkdtempSync, mkdirSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { makeTemporary } from "../../src/tree/temporary.ts";
import { openKernel } from "../support/kernel.ts";

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "temporary-"));
});
afterEach(() => {
  rmSync(parent, { recursive: true });
});

const age = (path: string): void => {
  utimesSync(path, 1_600_000_000, 1_600_000_000);
};

it("sweeps what killed runs left, and nothing else", () => {
  const kernel = openKernel();
  const living = makeTemporary(kernel, parent);
  const left = (name: string, mode = 0o700): string => {
    mkdirSync(join(parent, name), { mode });
    mkdirSync(join(parent, name, "index"));
    writeFileSync(join(parent, name, "index/data.mdb"), "rows");
    return join(parent, name);
  };
  const [dead, young, other, open] = [
    "dedupe-stats-00112233445566ff",
    "dedupe-plans-0011223344556677",
    "dedupe-mine",
    "dedupe-plans-7766554433221100",
  ];
  for (const path of [left(dead), left(other), left(open, 0o755), living.path]) age(path);
  left(young);
  symlinkSync(other, join(parent, "dedupe-plans-ffffffffffffffff"));
  const another = makeTemporary(kernel, parent, "plans");
  const names = [
    young,
    other,
    open,
    "dedupe-plans-ffffffffffffffff",
    ...[living, another].map(({ path }) => path.slice(parent.length + 1)),
  ];
  expect(readdirSync(parent).sort()).toEqual(names.sort());
  for (const each of [living, another]) each.remove();
});
