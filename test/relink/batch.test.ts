import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BatchDraft } from "../../src/relink/batch.ts";
import {
  BatchView,
  DIRECTORY_ROW,
  NAME_ROW,
  NO_DIRECTORY,
  TARGET_ROW,
  VICTIM_ROW,
} from "../../src/relink/batch-memory.ts";
import { BLOCKS_HIGH, INODE_WORDS, INO_LOW, NAMES_COUNT, NLINK, UNREAD } from "../../src/relink/layout.ts";
import { REF_WORDS } from "../../store/store.ts";

function inodeOf(ino: number, { names = 1, nlink = 1, blocks = 8, unread = 0 } = {}): Uint32Array {
  const inode = new Uint32Array(INODE_WORDS);
  inode[INO_LOW] = ino;
  inode[NAMES_COUNT] = names;
  inode[NLINK] = nlink;
  inode[BLOCKS_HIGH + 1] = blocks;
  inode[UNREAD] = unread;
  return inode;
}

const targetOf = (inode: Uint32Array, place?: { directory: number; name: Buffer }) => ({
  ref: new Uint32Array(REF_WORDS).fill(inode[INO_LOW] as number),
  inode,
  place: place === undefined ? undefined : { ...place, unit: 0 },
  isAgain: false,
});

/** Names of a batch as text, in its order: directory, name, what it leads to and what it is to lead to. */
function namesOf(batch: BatchView): string[] {
  return Array.from({ length: batch.directoryCount }, (_, at) => batch.directory(at)).flatMap((directory) =>
    Array.from({ length: directory[DIRECTORY_ROW.nameCount] as number }, (_, at) => {
      const row = batch.name((directory[DIRECTORY_ROW.firstName] as number) + at);
      const victim = batch.victim(row[NAME_ROW.victim] as number)[VICTIM_ROW.state + INO_LOW];
      const target = batch.target(row[NAME_ROW.target] as number)[TARGET_ROW.inode + INO_LOW];
      const name = batch.textOf(row, NAME_ROW.text).toString("latin1");
      const text = `${directory[DIRECTORY_ROW.id]}/${name} ${victim}>${target} ${row[NAME_ROW.unit]}`;
      return `${text} ${batch.text[(row[NAME_ROW.text] as number) + name.length]}`;
    }),
  );
}

describe("a batch", () => {
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 12 })
    .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 47 ? 65 : byte))));
  const place = fc.record({ directory: fc.nat(9), unit: fc.nat(3), name });
  const places = fc.uniqueArray(place, {
    maxLength: 400,
    selector: ({ directory, name }) => `${directory}/${name.toString("latin1")}`,
  });

  it("has each name once, by directory and then by bytes, with what it leads to, as does the next one", () => {
    const draft = new BatchDraft();
    fc.assert(
      fc.property(places, (all) => {
        const targets = [900, 901, 902].map((ino) => draft.addTarget(targetOf(inodeOf(ino))));
        const expected = all.map(({ directory, unit, name }, index) => {
          const victim = draft.addVictim(inodeOf(index + 1));
          draft.addName({ directory, unit, name }, victim, targets[index % 3]!);
          const text = `${directory}/${name.toString("latin1")} ${index + 1}>${900 + (index % 3)} ${unit} 0`;
          return { directory, name, text };
        });
        expected.sort((a, b) => a.directory - b.directory || a.name.compare(b.name));
        const batch = new BatchView(draft.take());
        expect(namesOf(batch)).toEqual(expected.map(({ text }) => text));
        expect([batch.nameCount, batch.victimCount, batch.targetCount]).toEqual([all.length, all.length, 3]);
      }),
    );
  });

  it("says what a victim frees: nothing where it has names outside", () => {
    const draft = new BatchDraft();
    draft.addVictim(inodeOf(1, { names: 2, nlink: 2, blocks: 24 }));
    draft.addVictim(inodeOf(2, { names: 2, nlink: 3, blocks: 24 }));
    const batch = new BatchView(draft.take());
    const rows = [0, 1].map((index) => batch.victim(index));
    expect(rows.map((row) => row[VICTIM_ROW.freedBlocks + 1])).toEqual([24, 0]);
    expect(rows.map((row) => row[VICTIM_ROW.namesCount])).toEqual([2, 2]);
  });

  it("asks to read what was not read only where names are to give way to it", () => {
    const draft = new BatchDraft();
    const place = { directory: 7, name: Buffer.from("it") };
    const used = draft.addTarget(targetOf(inodeOf(1, { unread: 1 }), place));
    draft.addTarget(targetOf(inodeOf(2, { unread: 1 })));
    draft.addName({ directory: 3, name: Buffer.from("a"), unit: 0 }, draft.addVictim(inodeOf(3)), used);
    const batch = new BatchView(draft.take());
    expect([0, 1].map((index) => batch.target(index)[TARGET_ROW.unread])).toEqual([1, 0]);
    expect([0, 1].map((index) => batch.target(index)[TARGET_ROW.directory])).toEqual([7, NO_DIRECTORY]);
    expect(batch.textOf(batch.target(0), TARGET_ROW.text).toString()).toBe("it");
  });

  it("knows where the equal is that may take a target's place", () => {
    const draft = new BatchDraft();
    fc.assert(
      fc.property(places, fc.nat(), (all, chosen) => {
        fc.pre(all.length > 0);
        const [none, target] = [900, 901].map((ino) => draft.addTarget(targetOf(inodeOf(ino)))) as [
          number,
          number,
        ];
        all.forEach((each, index) => {
          const inode = inodeOf(index + 1);
          draft.addName({ ...each }, draft.addVictim(inode), target);
          if (index === chosen % all.length) draft.setEqual(target, inode);
        });
        const batch = new BatchView(draft.take());
        const { directory, name } = all[chosen % all.length]!;
        const number = (batch.target(target)[TARGET_ROW.equal] as number) - 1;
        expect(batch.directoryOf(number)).toBe(directory);
        expect(batch.textOf(batch.name(number), NAME_ROW.text)).toEqual(name);
        expect(batch.target(none)[TARGET_ROW.equal]).toBe(0);
      }),
    );
  });
});
