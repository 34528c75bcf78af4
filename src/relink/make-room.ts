import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Ref } from "../../store/store.ts";
import type { Failure } from "../work/messages.ts";
import { PlaceReader, type Place } from "./batch.ts";
import { NO_SURVIVOR } from "./classes.ts";
import { ATTRIBUTES } from "./discards.ts";
import { DirectRelinker, type DirectClass, type Survivor } from "./direct.ts";
import type { Directories } from "./directories.ts";
import type { HeapReader } from "./heap.ts";
import {
  CLASS_AT_HIGH,
  CLASS_COUNT,
  CLASS_SURVIVOR,
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
};

/** On a full disk, classes in the order in which they free most, made one without the store. */
export class RoomMaker {
  readonly #parts: RoomParts;
  readonly #names: PlaceReader;

  constructor(parts: RoomParts) {
    this.#parts = parts;
    this.#names = new PlaceReader(parts.places, parts.heap);
  }

  /** After each class: whether there is room enough. @throws RunFailure */
  *run(classes: Iterable<Uint32Array>): Generator<boolean> {
    const relinker = new DirectRelinker({ ...this.#parts, compared: this.#parts.rules.compared });
    for (const record of classes) {
      const each = this.#classOf(record);
      if (each === undefined) continue;
      relinker.relink(each);
      yield this.#parts.isEnough();
    }
  }

  #classOf(record: Uint32Array): DirectClass | undefined {
    const at = record[CLASS_SURVIVOR] as number;
    const survivor = at === NO_SURVIVOR ? this.#objectOf(record) : this.#memberOf(record, at);
    if (survivor === undefined) return undefined;
    const { isEnough } = this.#parts;
    return { survivor, victims: this.#victims(record, survivor.state), isEnough };
  }

  #memberOf(record: Uint32Array, at: number): Survivor | undefined {
    if ((record[CLASS_COUNT] as number) < 2) return undefined;
    const state = this.#parts.members.at(numberAt(record, CLASS_AT_HIGH) + at).slice();
    const place = this.#names.of(state, 1)[0];
    return place === undefined ? undefined : { type: "name", state, place };
  }

  /** The first sibling, as the batches have it. */
  #objectOf(record: Uint32Array): Survivor | undefined {
    const { kernel, members, objectsFd, rules } = this.#parts;
    const stat = new Stat(kernel.sys);
    const ref = setRefOfRead(new Ref(kernel.sys), members.at(numberAt(record, CLASS_AT_HIGH)), rules);
    if (kernel.sys.statx(objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, stat.address) < 0) return undefined;
    const state = new Uint32Array(STATE_WORDS);
    stat.copyWords(STATX_WORDS, state, 0);
    return { type: "object", state, ref: ref.words.slice() };
  }

  *#victims(record: Uint32Array, survivor: Uint32Array): Generator<{ state: Uint32Array; places: Place[] }> {
    const { members, linkLimit } = this.#parts;
    const first = numberAt(record, CLASS_AT_HIGH);
    const count = record[CLASS_COUNT] as number;
    const at = first + (record[CLASS_SURVIVOR] as number);
    let room = linkLimit === 0 ? Infinity : linkRoom(linkLimit, linkLimit) - (survivor[NLINK] as number);
    for (let index = first; index < first + count; index++) {
      if (index === at) continue;
      const state = members.at(index).slice();
      // There is no room to write down what it would lose: its turn comes with the batches.
      if (!sameWords(state, survivor, ATTRIBUTES)) continue;
      room -= state[NAMES_COUNT] as number;
      if (room > 0) yield { state, places: this.#names.of(state) };
    }
  }
}
