import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { openSys } from "../../src/sys/linux.ts";
import { Scratch } from "../../src/sys/scratch.ts";
import { Ledger, rowStates } from "../../src/verify/ledger.ts";
import { FLAGS, ROW_WORDS, STATE, isPartner, markOf, setPartner } from "../../src/verify/ledger-row.ts";

const sys = openSys();
const kernel = { sys, scratch: new Scratch(sys) };

const key = (number: number) => ({
  side: (number & 1) as 0 | 1,
  device: 0x80000001 + (number % 3),
  inoLow: Math.imul(number, 0x9e3779b1) >>> 0,
  inoHigh: number % 5 === 0 ? 0xfffffff0 : 0,
});

test("knows every inode, in memory and beyond, and no other", () => {
  const memory = Ledger.allocate(64);
  const ledger = new Ledger(kernel, memory, tmpdir());
  const other = new Ledger(kernel, memory, tmpdir());
  const row = new Int32Array(ROW_WORDS);
  for (let number = 0; number < 2000; number++) {
    expect(ledger.claim(key(number), row)).toBe(rowStates.none);
    row[STATE] = rowStates.known;
    markOf(row).fill(number & 255);
    setPartner(row, { ...key(number + 7), links: number });
    ledger.settle(key(number), row);
  }
  for (let number = 0; number < 2000; number++) {
    expect(other.find(key(number), row)).toBe(rowStates.known);
    expect(Buffer.from(markOf(row)).equals(Buffer.alloc(48, number & 255))).toBe(true);
    const { device, inoLow, inoHigh } = key(number + 7);
    expect(isPartner(row, device, inoLow, inoHigh)).toBe(true);
    expect(isPartner(row, device, inoLow + 1, inoHigh)).toBe(false);
  }
  expect(other.find(key(2001), row)).toBe(rowStates.none);
  ledger.close();
});

test("tells a second thread of an inode that is in hand, and keeps what is amended", () => {
  for (const slots of [64, 1]) {
    const memory = Ledger.allocate(slots);
    const [one, two] = [new Ledger(kernel, memory, tmpdir()), new Ledger(kernel, memory, tmpdir())];
    const row = new Int32Array(ROW_WORDS);
    expect(one.claim(key(1), row)).toBe(rowStates.none);
    const seen = new Int32Array(ROW_WORDS);
    expect(two.claim(key(1), seen)).toBe(rowStates.claimed);
    row[STATE] = rowStates.known;
    one.settle(key(1), row);
    expect(two.claim(key(1), seen)).toBe(rowStates.known);
    two.amend(key(1), seen, (found) => (found[FLAGS] = 3));
    expect(one.find(key(1), row)).toBe(rowStates.known);
    expect(row[FLAGS]).toBe(3);
    one.close();
  }
});
