import type { Sys } from "../sys/sys.ts";
import { mostOf } from "../tree/most.ts";
import { Ref } from "../../store/store.ts";
import { BatchDraft, PlaceReader, type Place } from "./batch.ts";
import type { BatchMemory } from "./batch-memory.ts";
import type { HeapReader } from "./heap.ts";
import {
  CLASS_AT_HIGH,
  CLASS_COUNT,
  CLASS_SURVIVOR,
  INODE_WORDS,
  INO_HIGH,
  INO_LOW,
  NAMES_AT_HIGH,
  NAMES_COUNT,
  NLINK,
  PLACE_WORDS,
  numberAt,
} from "./layout.ts";
import { linkRoom } from "./link-room.ts";
import type { RelinkRules } from "./messages.ts";
import type { ScatteredRecords } from "./record-file.ts";
import { setRefOfRead } from "./variant.ts";

/** An object that the store has. */
export type KnownObject = { sibling: number; inoHigh: number; inoLow: number; links: number };

export type PlanParts = {
  sys: Sys;
  members: ScatteredRecords;
  places: ScatteredRecords;
  heap: HeapReader;
  rules: RelinkRules;
  linkLimit: number;
  /** All that the store has of this reference, from sibling 0 on. */
  objectsOf: (ref: Ref) => KnownObject[];
  /** Names of a class that its first object has got already, by where the class begins: they are planned once more. */
  linkedNames: ReadonlyMap<number, number>;
  /** How many names a batch may have now. */
  batchNames: () => number;
};

/** `siblings`: inodes that stay apart from their equals for the link limit. */
export type PlannedBatch = { memory: BatchMemory; siblings: number };

type Aim = {
  sibling: number;
  links: number;
  inode: Uint32Array;
  place: Place | undefined;
  /** Its number in the draft at hand. */
  drafted: { serial: number; index: number } | undefined;
};

/** Classes -> batches: which names are to lead to which inode. */
export class BatchPlanner {
  readonly #parts: PlanParts;
  readonly #ref: Ref;
  readonly #names: PlaceReader;
  readonly #member = new Uint32Array(INODE_WORDS);
  readonly #draft = new BatchDraft();
  #siblings = 0;
  #most = 0;

  constructor(parts: PlanParts) {
    this.#parts = parts;
    this.#ref = new Ref(parts.sys);
    this.#names = new PlaceReader(parts.places, parts.heap);
  }

  /** In the order of the classes. Each batch is to be carried out before the next is asked for. */
  *batches(classes: Iterable<Uint32Array>): Generator<PlannedBatch> {
    for (const record of classes) {
      yield* this.#plan(record);
      if (this.#isFull()) yield this.#take();
    }
    if (this.#draft.targets > 0) yield this.#take();
  }

  #isFull(): boolean {
    // Asked once a batch: by then the one before it has freed what it frees.
    if (this.#most === 0) this.#most = this.#parts.batchNames();
    const most = this.#most;
    return this.#draft.names >= most || this.#draft.targets >= most;
  }

  #take(): PlannedBatch {
    const taken = { memory: this.#draft.take(), siblings: this.#siblings };
    this.#siblings = 0;
    this.#most = 0;
    return taken;
  }

  *#plan(record: Uint32Array): Generator<PlannedBatch> {
    const { members } = this.#parts;
    const first = numberAt(record, CLASS_AT_HIGH);
    const count = record[CLASS_COUNT] as number;
    const survivor = record[CLASS_SURVIVOR] as number;
    const sample = members.at(first).slice();
    setRefOfRead(this.#ref, sample, this.#parts.rules);
    const words = this.#ref.words.slice();
    const aims = this.#knownAims(sample, first, count);
    const isKnown = aims.length > 0;
    if (!isKnown) {
      const inode = this.#linkable(first, count, survivor);
      if (inode !== undefined) aims.push(this.#aim(inode, 0));
    }
    const room = this.#room(first, count);
    if (aims[0] !== undefined && (!isKnown || count > aims.length)) this.#use(aims[0], words);
    const member = this.#member;
    for (let at = 0; at < count; at++) {
      // The survivor comes first: should the object be spoiled, it is in the batch that finds that.
      const index = first + (at === 0 ? survivor : at <= survivor ? at - 1 : at);
      members.copy(index, member);
      if (aims.some(({ inode, place }) => place !== undefined && isSameInode(inode, member))) continue;
      if (this.#isAtLimit(member)) {
        if (count > 1) this.#siblings++;
        continue;
      }
      const aim = aims.find(({ links }) => room === 0 || links + (member[NAMES_COUNT] as number) <= room);
      if (aim === undefined) {
        const opened = this.#aim(member.slice(), aims.length);
        aims.push(opened);
        this.#siblings++;
        this.#use(opened, words);
        continue;
      }
      aim.links += member[NAMES_COUNT] as number;
      const target = this.#use(aim, words);
      this.#giveWay(member, target);
      if (at === 0) this.#draft.setEqual(target, member);
      if (this.#isFull()) yield this.#take();
    }
  }

  /** All names of the member are to lead to the target of the draft. */
  #giveWay(member: Uint32Array, target: number): void {
    const draft = this.#draft;
    const victim = draft.addVictim(member);
    this.#names.each(member, (place) => {
      draft.addName(place, victim, target);
    });
  }

  /** The member that is to survive, or the first that the store can still name. */
  #linkable(first: number, count: number, survivor: number): Uint32Array | undefined {
    const { members } = this.#parts;
    let member = members.at(first + survivor).slice();
    for (let at = 0; this.#isAtLimit(member); at++) {
      if (at === count) return undefined;
      member = members.at(first + at).slice();
    }
    return member;
  }

  /** It cannot have another name, not even the store's. */
  #isAtLimit(member: Uint32Array): boolean {
    const { linkLimit } = this.#parts;
    return linkLimit > 0 && (member[NLINK] as number) >= linkLimit;
  }

  #aim(inode: Uint32Array, sibling: number): Aim {
    const links = (inode[NLINK] as number) + 1;
    return { sibling, links, inode, place: this.#names.first(inode), drafted: undefined };
  }

  /** What the store has already: by a name in the tree where one is a member, else by its object's name alone. */
  #knownAims(sample: Uint32Array, first: number, count: number): Aim[] {
    const objects = this.#parts.objectsOf(this.#ref);
    if (objects.length === 0) return [];
    const inTree = new Map<string, Uint32Array>();
    for (let index = first; index < first + count; index++) {
      const member = this.#parts.members.at(index);
      if (objects.some((object) => object.inoLow === member[INO_LOW] && object.inoHigh === member[INO_HIGH]))
        inTree.set(`${String(member[INO_HIGH])}:${String(member[INO_LOW])}`, member.slice());
    }
    return objects.map(({ sibling, inoHigh, inoLow, links }) => {
      const member = inTree.get(`${String(inoHigh)}:${String(inoLow)}`);
      const place = member === undefined ? undefined : this.#names.first(member);
      const inode = (member ?? sample).slice();
      inode[INO_HIGH] = inoHigh;
      inode[INO_LOW] = inoLow;
      const linked = sibling === 0 ? (this.#parts.linkedNames.get(first) ?? 0) : 0;
      return { sibling, links: links - linked, inode, place, drafted: undefined };
    });
  }

  /** Its number in the draft at hand, which it enters with its first name. */
  #use(aim: Aim, words: Uint32Array): number {
    if (aim.drafted?.serial === this.#draft.serial) return aim.drafted.index;
    this.#ref.copyFrom(words, 0);
    this.#ref.sibling = aim.sibling;
    const { inode, place, drafted } = aim;
    const isAgain = drafted !== undefined;
    const index = this.#draft.addTarget({ ref: this.#ref.words.slice(), inode, place, isAgain });
    aim.drafted = { serial: this.#draft.serial, index };
    return index;
  }

  /** Names are counted by snapshot only where a class comes near the limit. 0: there is none. */
  #room(first: number, count: number): number {
    const { members, places, linkLimit } = this.#parts;
    if (linkLimit === 0) return 0;
    let names = 0;
    for (let index = first; index < first + count; index++) names += members.at(index)[NAMES_COUNT] as number;
    if (names < linkLimit >> 2) return linkRoom(linkLimit, names);
    const units = new Map<number, number>();
    for (let index = first; index < first + count; index++) {
      const from = numberAt(members.at(index), NAMES_AT_HIGH);
      const until = from + (members.at(index)[NAMES_COUNT] as number);
      for (let at = from; at < until; at++) {
        const unit = places.at(at)[PLACE_WORDS - 1] as number;
        units.set(unit, (units.get(unit) ?? 0) + 1);
      }
    }
    return linkRoom(linkLimit, mostOf(units.values()));
  }
}

function isSameInode(a: Uint32Array, b: Uint32Array): boolean {
  return a[INO_LOW] === b[INO_LOW] && a[INO_HIGH] === b[INO_HIGH];
}
