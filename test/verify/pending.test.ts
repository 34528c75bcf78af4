import { mkdtempSync, readdirSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Finding } from "../../src/verify/messages.ts";
import { PendingFindings } from "../../src/verify/pending.ts";
import { openKernel } from "../support/kernel.ts";

test("findings that wait come back as they were, from memory and from a file without a name", () => {
  const folder = mkdtempSync(join(tmpdir(), "pending-"));
  const pending = new PendingFindings(openKernel(), folder, 10);
  const finding = (number: number): Finding => ({
    path: Buffer.concat([Buffer.from([0xff, 0x0a]), Buffer.from(`${number}/ü`)]),
    class: "mtime",
    source: "x".repeat(100),
    pending: { device: 1, inoLow: number, inoHigh: 0xffffffff },
  });
  const wanted = Array.from({ length: 5000 }, (_, number) => finding(number));
  expect(wanted.every((each) => pending.add(each))).toBe(true);
  expect(JSON.stringify([...pending.all()])).toBe(JSON.stringify(wanted));
  expect(readdirSync(folder)).toEqual([]);
  pending.close();
  rmdirSync(folder);
});

test("a finding that finds no room is not taken", () => {
  const pending = new PendingFindings(openKernel(), "/proc/self", 1);
  const finding: Finding = { path: Buffer.alloc(200_000, "x"), class: "mtime" };
  expect([1, 2, 3].map(() => pending.add(finding))).toEqual([true, false, false]);
  expect([...pending.all()]).toEqual([finding]);
  pending.close();
});
