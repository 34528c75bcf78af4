import { describe, expect, it } from "vitest";
import { InodeTable, type InodeKey } from "../../store/inode-table.ts";
import { Ref } from "../../store/ref.ts";
import { openKernel } from "../support/kernel.ts";

const { sys } = openKernel();
const memory = InodeTable.allocate();
const table = new InodeTable(memory);
/** Another thread's view of the same memory. */
const other = new InodeTable(memory);

const refOf = (byte: number): Ref =>
  new Ref(sys).setObject(Buffer.alloc(32, byte), Buffer.alloc(8, byte), undefined);
const keyOf = (ino: number, device = 1): InodeKey => ({ device, inoLow: ino, inoHigh: 0 });
const target = (ino: number, links = 1) => ({ inoLow: ino, inoHigh: 7, links, sizeBytes: 2 ** 40 + ino });
const isKnown = (from: InodeTable, { device, inoLow, inoHigh }: InodeKey, ref: Ref, snapshot = 1): boolean =>
  from.find(device, inoLow, inoHigh, ref, snapshot, 1);

describe("the inode table", () => {
  it("tells what was inserted, to every thread, and nothing of its neighbours", () => {
    table.insert(keyOf(10), refOf(1), target(100, 5));
    const found = new Ref(sys);
    expect(isKnown(other, keyOf(10), found)).toBe(true);
    expect(other.hit).toMatchObject({
      targetInoLow: 100,
      targetInoHigh: 7,
      sizeBytes: 2 ** 40 + 100,
      links: 6,
    });
    expect(Buffer.from(found.bytes)).toEqual(Buffer.from(refOf(1).bytes));
    expect(isKnown(other, keyOf(11), found)).toBe(false);
    expect(isKnown(other, keyOf(10, 2), found)).toBe(false);
    expect(isKnown(other, { ...keyOf(10), inoHigh: 1 }, found)).toBe(false);
  });

  it("lets one thread at a time read an inode", () => {
    expect(table.claim(keyOf(20))).toBe("claimed");
    expect(other.claim(keyOf(20))).toBe("taken");
    expect(isKnown(other, keyOf(20), new Ref(sys))).toBe(false);
    table.release(keyOf(20));
    expect(other.claim(keyOf(20))).toBe("claimed");
    other.insert(keyOf(20), refOf(2), target(200));
    other.release(keyOf(20));
    expect(table.claim(keyOf(20))).toBe("known");
  });

  it("counts links of all threads, and remembers the most names that one snapshot had", () => {
    table.insert(keyOf(30), refOf(3), target(300, 2));
    const found = new Ref(sys);
    for (let name = 0; name < 3; name++) isKnown(table, keyOf(30), found, 1);
    for (let name = 0; name < 5; name++) isKnown(other, keyOf(30), found, 2);
    isKnown(table, keyOf(30), found, 1);
    expect(table.hit).toMatchObject({ links: 11, mostInSnapshot: 5 });
    table.uncount(table.hit.slot, 1);
    isKnown(table, keyOf(30), found, 1);
    expect(table.hit.links).toBe(11);
  });

  it("lends a descriptor once, and only to the entry it was made for", () => {
    table.insert(keyOf(40), refOf(4), target(400));
    const found = new Ref(sys);
    isKnown(table, keyOf(40), found);
    const { slot } = table.hit;
    expect(table.lend(slot, refOf(5), 50)).toBe(false);
    expect(table.lend(slot, refOf(4), 51)).toBe(true);
    expect(other.lend(slot, refOf(4), 52)).toBe(false);
    isKnown(other, keyOf(40), found);
    expect(other.hit.fd).toBe(51);
  });

  it("knows objects by the whole of their reference", () => {
    table.insertObject(refOf(6), target(600));
    const sibling = refOf(6);
    sibling.sibling = 1;
    const variant = new Ref(sys).setObject(Buffer.alloc(32, 6), Buffer.alloc(8, 7), undefined);
    expect(other.findObject(refOf(6))).toBe(true);
    expect(other.findObject(sibling)).toBe(false);
    expect(other.findObject(variant)).toBe(false);
  });

  it("forgets when it is full, and never tells of the wrong inode", () => {
    const small = new InodeTable(InodeTable.allocate());
    const count = 200_000;
    const ref = refOf(8);
    for (let ino = 1; ino <= count; ino++) small.insert(keyOf(ino), ref, target(ino));
    const found = new Ref(sys);
    let known = 0;
    for (let ino = 1; ino <= count; ino++) {
      if (!isKnown(small, keyOf(ino), found)) continue;
      known++;
      expect(small.hit.targetInoLow).toBe(ino);
    }
    expect(known).toBeGreaterThan(100_000);
    expect(known).toBeLessThan(count);
  });
});
