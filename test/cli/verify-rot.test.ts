import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { migrateWell } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { requireLoop } from "../support/skip.ts";
import { affectedOf, keepingTime, objectsOf } from "../support/store-objects.ts";
import { file, linkTo, makeTree, type Tree } from "../support/tree.ts";
import { verify, type VerifyRun } from "../support/verify.ts";

const FILES = 1200;
const FLIPS = 1000;
const random = randomFrom(20_240_229);

/** Numbers below `most`, always the same ones. */
function randomFrom(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

type Inode = { object: string; names: string[]; content: string };

/* Each step builds on the one before. */
describe.skipIf(!requireLoop())("a store that has rotted", () => {
  let workplace: Workplace;
  let [source, target] = ["", ""];
  let inodes: Inode[] = [];
  /** "class path" of everything that was damaged. */
  const damage: string[] = [];
  let deleted: Inode;
  /** Whose content is not what it was. */
  const rotten = new Set<Inode>();
  const misnamed: Inode[] = [];

  const at = (path: string): string => join(target, path);
  const foreign = (): string => join(".dedupe/objects", inodes[0]!.object.split("/")[2]!, "notes.txt");
  const wanted = (...more: string[]): string[] => [...damage, ...more].sort();
  const affected = (of: Iterable<Inode>): string[] => [...of].flatMap(({ names }) => names).sort();

  beforeAll(() => {
    workplace = makeWorkplace();
    [source, target] = [join(workplace.path, "source"), join(workplace.path, "target")];
    mkdirSync(target);
    const { tree, made } = makeFiles();
    makeTree(source, tree);
    migrateWell(source, target);
    inodes = withObjects(made);
    flipBytes();
    damageOthers();
  });
  afterAll(() => workplace.close());

  /** Every other content is there twice, as two variants; every third inode has two names. */
  function makeFiles(): { tree: Tree; made: Omit<Inode, "object">[] } {
    const tree: Record<string, Tree[string]> = {};
    const made: Omit<Inode, "object">[] = [];
    for (let number = 0; number < FILES; number++) {
      const content = `${String(number)} ${"abcdefghij".repeat(20 + random(300))}\n`;
      const variants = number % 2 === 0 ? ["one", "two"] : ["one"];
      for (const [index, variant] of variants.entries()) {
        const names = [`daily.0/${variant}/${String(number)}`];
        tree[names[0]!] = file(content, {
          mode: 0o640 + index,
          mtimeNs: 1_600_000_000_123_456_789n + BigInt(index),
        });
        if (number % 3 === 0) {
          names.push(`daily.1/${variant}/${String(number)}`);
          tree[names[1]!] = linkTo(names[0]!);
        }
        made.push({ names, content });
      }
    }
    return { tree, made };
  }

  function withObjects(made: readonly Omit<Inode, "object">[]): Inode[] {
    const byNumber = new Map(objectsOf(target).map((path) => [lstatSync(at(path)).ino, path]));
    return made.map((each) => ({ ...each, object: byNumber.get(lstatSync(at(each.names[0]!)).ino)! }));
  }

  function flipBytes(): void {
    const offsets = new Map<Inode, Set<number>>();
    for (let flips = 0; flips < FLIPS;) {
      const inode = inodes[random(inodes.length)]!;
      const offset = random(inode.content.length);
      const taken = offsets.get(inode) ?? new Set();
      if (taken.has(offset)) continue;
      offsets.set(inode, taken.add(offset));
      flips++;
    }
    for (const [inode, of] of offsets) {
      const path = at(inode.object);
      keepingTime(path, () => {
        const descriptor = openSync(path, "r+");
        for (const offset of of) {
          const byte = Buffer.alloc(1);
          readSync(descriptor, byte, 0, 1, offset);
          writeSync(descriptor, Buffer.from([byte[0]! ^ (1 + random(255))]), 0, 1, offset);
        }
        closeSync(descriptor);
      });
      rotten.add(inode);
      damage.push(`content ${inode.object}`);
    }
  }

  function damageOthers(): void {
    const whole = inodes.filter((inode) => !rotten.has(inode));
    const [short, gone, one, two] = [whole[0]!, whole[1]!, whole[2]!, whole[3]!];
    keepingTime(at(short.object), () => {
      truncateSync(at(short.object), short.content.length >> 1);
    });
    rotten.add(short);
    deleted = gone;
    rmSync(at(gone.object));
    misnamed.push(one, two);
    renameSync(at(one.object), at(".dedupe/aside"));
    renameSync(at(two.object), at(one.object));
    renameSync(at(".dedupe/aside"), at(two.object));
    writeFileSync(at(foreign()), "mine\n");
    damage.push(...[short, one, two].map(({ object }) => `content ${object}`), `foreign ${foreign()}`);
  }

  function expectFound(run: VerifyRun, found: string[], noted: string[]): void {
    expect(run).toMatchObject({ code: 4, found, noted });
    expect(affectedOf(run).filter((name) => !deleted.names.includes(name))).toEqual(
      affected([...rotten, ...misnamed]),
    );
  }

  it("shows all that was damaged, and nothing else", () => {
    expect(rotten.size).toBeGreaterThan(600);
    expect(rotten.size).toBeLessThan(inodes.length / 2);
    expectFound(verify([target]), wanted(`deleted ${deleted.object}`), []);
  });

  it("shows it with an index that was overwritten by garbage, and without one", () => {
    const index = ".dedupe/index/data.mdb";
    renameSync(at(index), at(".dedupe/aside.mdb"));
    const noted = deleted.names.slice(0, 1).map((name) => `new-since ${name}`);
    expectFound(verify([target]), wanted(), [`index-missing ${index}`, ...noted]);
    writeFileSync(at(index), Buffer.alloc(lstatSync(at(".dedupe/aside.mdb")).size, "rot"));
    expectFound(verify([target]), wanted(`index-damaged ${index}`), noted);
    renameSync(at(".dedupe/aside.mdb"), at(index));
  });

  it("gets back what another copy has, and lists the rest", () => {
    const whole = new Set(inodes.filter((inode) => !rotten.has(inode)).map(({ content }) => content));
    const lost = [...rotten].filter(({ content }) => !whole.has(content));
    const restored = [...rotten].filter(({ content }) => whole.has(content));
    expect(lost.length).toBeGreaterThan(100);
    expect(restored.length).toBeGreaterThan(100);
    const run = verify(["--repair", target]);
    expect(run.code).toBe(4);
    const of = (type: string): string[] =>
      run.events.filter((event) => event.type === type).map(({ path }) => String(path));
    expect(of("unrepaired").sort()).toEqual(lost.map(({ object }) => object).sort());
    expect(of("repaired").sort()).toEqual(
      [...restored, ...misnamed, deleted].map(({ object }) => object).sort(),
    );
    const left = [...lost.map(({ object }) => `content ${object}`), `foreign ${foreign()}`].sort();
    expect(verify([target])).toMatchObject({ code: 4, found: left, noted: [] });
    expect(affectedOf(run)).toEqual(affected(lost));
    // One name for each inode.
    const differing = new Set(compareTrees(source, target).map(({ path }) => path));
    expect(inodes.filter(({ names }) => names.some((name) => differing.has(name)))).toEqual(
      inodes.filter((inode) => lost.includes(inode)),
    );
    expect(differing.size).toBe(lost.length);
  });
});
