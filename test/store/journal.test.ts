import { appendFileSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Journal } from "../../store/journal.ts";
import { RECORD_BYTES } from "../../store/record.ts";
import { openFolder, openKernel } from "../support/kernel.ts";

const kernel = openKernel();
let work = "";
let journal: Journal;
const pathOf = (which: 0 | 1) => join(work, `log/rows.${which}`);

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-journal-"));
  mkdirSync(join(work, "log"));
  journal = new Journal(kernel, openFolder(work));
});

afterEach(() => {
  journal.close();
  rmSync(work, { recursive: true, force: true });
});

describe("a journal", () => {
  it("gives back all that was appended, in order and in whole records", () => {
    const count = 20_001;
    const bytes = Buffer.alloc(count * RECORD_BYTES);
    for (let at = 0; at < count; at++) bytes.writeUInt32LE(at, at * RECORD_BYTES);
    appendFileSync(pathOf(0), bytes);
    const parts: Buffer[] = [];
    journal.drain(0, journal.sizeBytes(0), (records) => {
      expect(records.length % RECORD_BYTES).toBe(0);
      parts.push(Buffer.from(records));
    });
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
  });

  it("leaves the half record out that a killed run wrote last", () => {
    appendFileSync(pathOf(1), Buffer.alloc(RECORD_BYTES * 3 - 1));
    expect(journal.sizeBytes(1)).toBe(RECORD_BYTES * 2);
  });

  it("reads no further than it was told to", () => {
    appendFileSync(pathOf(0), Buffer.alloc(RECORD_BYTES * 5));
    let seen = 0;
    journal.drain(0, RECORD_BYTES * 2, (records) => (seen += records.length));
    expect(seen).toBe(RECORD_BYTES * 2);
  });

  it("is emptied one file at a time, and private", () => {
    for (const which of [0, 1] as const) appendFileSync(pathOf(which), Buffer.alloc(RECORD_BYTES));
    journal.empty(0);
    expect([journal.sizeBytes(0), journal.sizeBytes(1)]).toEqual([0, RECORD_BYTES]);
    expect(statSync(pathOf(0)).mode & 0o777).toBe(0o600);
  });
});
