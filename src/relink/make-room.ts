import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Ref } from "../../store/store.ts";
import type { Failure } from "../work/messages.ts";
import { PlaceReader, type Place } from "./batch.ts";
import type { KnownObject } from "./batch-planner.ts";
import { ATTRIBUTES } from "./discards.ts";
import { DirectRelinker, type Survivor } from "./direct.ts";
import type { Directories } from "./directories.ts";
import type { HeapReader } from "./heap.ts";
import {
  CLASS_AT_HIGH,
  CLASS_COUNT,
  CLASS_SURVIVOR,
  INO_HIGH,
  INO_LOW,
  NAMES_COUNT,
  NLINK,
  STATE_WORDS,
  STATX_WORDS,
  numberAt,
  sameWords,
} from "./layout.ts";
import { linkRoom } from "./link-room.ts";
import type { RelinkRules } from "./messages.ts";
import type { ScatteredRecords } from "./record-file.ts";
import { setRefOfRead } from "./variant.ts";

export type RoomParts = {
  kernel: Kernel;
  rootFd: number;
  /** -1 for none. */
  objectsFd: number;
  directories: Directories;
  heap: HeapReader;
  members: ScatteredRecords;
  places: ScatteredRecords;
  rules: RelinkRules;
  linkLimit: number;
  failed: (failure: Failure) => void;
  replaced: (place: Place) => void;
  isEnough: () => boolean;
  /** What the store has of a reference, from sibling 0 on. */
  objectsOf: (ref: Ref) => KnownObject[];
  /** Takes how many names were given to an object, by where its class begins; a class that frees nothing is not in it. */
  linkedNames: Map<number, number>;
};

/** On a full disk, classes in the order in which they free most, made one without the store. */
export class RoomMaker {
  readonly #parts: RoomParts;
  readonly #names: PlaceReader;
  readonly #ref: Ref;

  constructor(parts: RoomParts) {
    this.#parts = parts;
    this.#names = new PlaceReader(parts.places, parts.heap);
    this.#ref = new Ref(parts.kernel.sys);
  }

  /** After each class: whether there is room enough. @throws RunFailure */
  *run(classes: Iterable<Uint32Array>): Generator<boolean> {
    const relinker = new DirectRelinker({ ...this.#parts, compared: this.#parts.rules.compared });
    for (const record of classes) {
      this.#relink(relinker, record);
      yield this.#parts.isEnough();
    }
  }

  #relink(relinker: DirectRelinker, record: Uint32Array): void {
    const objects = this.#objectsOf(record);
    const object = objects[0];
    const first = object === undefined ? undefined : this.#objectAs(record, object);
    if (first === undefined) {
      if ((record[CLASS_COUNT] as number) > 1) this.#giveWay(relinker, record, this.#best(record), objects);
      return;
    }
    if (this.#giveWay(relinker, record, first, objects) === "bad") {
      // Then the store has none of this class: its next number is not looked for where one is missing.
      this.#giveWay(relinker, record, this.#best(record), []);
    }
  }

  #giveWay(
    relinker: DirectRelinker,
    record: Uint32Array,
    survivor: Survivor,
    objects: readonly KnownObject[],
  ): "bad" | "done" {
    const { isEnough, linkedNames } = this.#parts;
    const victims = this.#victims(record, survivor.state, objects);
    const replaced = relinker.relink({ survivor, victims, isEnough });
    if (replaced === "bad") return "bad";
    if (replaced > 0 && objects.length > 0) linkedNames.set(numberAt(record, CLASS_AT_HIGH), replaced);
    return "done";
  }

  #objectsOf(record: Uint32Array): KnownObject[] {
    const { members, objectsOf, rules } = this.#parts;
    return objectsOf(setRefOfRead(this.#ref, members.at(numberAt(record, CLASS_AT_HIGH)), rules));
  }

  /** As the batches have it: the object of the least number, by a name in the tree where it has one. */
  #objectAs(record: Uint32Array, object: KnownObject): Survivor | undefined {
    const { kernel, members, objectsFd } = this.#parts;
    const first = numberAt(record, CLASS_AT_HIGH);
    for (let index = first; index < first + (record[CLASS_COUNT] as number); index++) {
      const member = members.at(index);
      if (isSameInode(member, object)) return this.#named(member);
    }
    const stat = new Stat(kernel.sys);
    this.#ref.sibling = object.sibling;
    if (kernel.sys.statx(objectsFd, this.#ref.format(), AT_SYMLINK_NOFOLLOW, stat.address) < 0)
      return undefined;
    const state = new Uint32Array(STATE_WORDS);
    stat.copyWords(STATX_WORDS, state, 0);
    return { type: "object", state, ref: this.#ref.words.slice() };
  }

  #best(record: Uint32Array): Survivor {
    const first = numberAt(record, CLASS_AT_HIGH);
    return this.#named(this.#parts.members.at(first + (record[CLASS_SURVIVOR] as number)));
  }

  #named(member: Uint32Array): Survivor {
    const state = member.slice();
    return { type: "name", state, place: this.#names.first(state) as Place };
  }

  /** Not what the store has under another number: as long as that name is there nothing is freed. */
  *#victims(
    record: Uint32Array,
    survivor: Uint32Array,
    objects: readonly KnownObject[],
  ): Generator<{ state: Uint32Array; places: Place[] }> {
    const { members, linkLimit } = this.#parts;
    const first = numberAt(record, CLASS_AT_HIGH);
    const count = record[CLASS_COUNT] as number;
    const staying = [
      { inoHigh: survivor[INO_HIGH] as number, inoLow: survivor[INO_LOW] as number },
      ...objects,
    ];
    let room = linkLimit === 0 ? Infinity : linkRoom(linkLimit, linkLimit) - (survivor[NLINK] as number);
    for (let index = first; index < first + count; index++) {
      const state = members.at(index).slice();
      if (staying.some((each) => isSameInode(state, each))) continue;
      // There is no room to write down what it would lose: its turn comes with the batches.
      if (!sameWords(state, survivor, ATTRIBUTES)) continue;
      room -= state[NAMES_COUNT] as number;
      if (room > 0) yield { state, places: this.#names.of(state) };
    }
  }
}

function isSameInode(member: Uint32Array, { inoHigh, inoLow }: { inoHigh: number; inoLow: number }): boolean {
  return member[INO_LOW] === inoLow && member[INO_HIGH] === inoHigh;
}
