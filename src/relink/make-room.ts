import type { Compared } from "../options.ts";
import type { Kernel } from "../sys/files.ts";
import type { Failure } from "../work/messages.ts";
import { PlaceReader, type Place } from "./batch.ts";
import { NO_SURVIVOR } from "./classes.ts";
import { ATTRIBUTES } from "./discards.ts";
import { DirectRelinker, type DirectClass } from "./direct.ts";
import type { Directories } from "./directories.ts";
import type { HeapReader } from "./heap.ts";
import {
  CLASS_AT_HIGH,
  CLASS_COUNT,
  CLASS_SURVIVOR,
  NAMES_COUNT,
  NLINK,
  numberAt,
  sameWords,
} from "./layout.ts";
import { linkRoom } from "./link-room.ts";
import type { ScatteredRecords } from "./record-file.ts";

export type RoomParts = {
  kernel: Kernel;
  rootFd: number;
  directories: Directories;
  heap: HeapReader;
  members: ScatteredRecords;
  places: ScatteredRecords;
  compared: Compared;
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
    const relinker = new DirectRelinker({ ...this.#parts, comparesXattrs: this.#parts.compared.xattrs });
    for (const record of classes) {
      const each = this.#classOf(record);
      if (each === undefined) continue;
      relinker.relink(each);
      yield this.#parts.isEnough();
    }
  }

  #classOf(record: Uint32Array): DirectClass | undefined {
    const { members, isEnough } = this.#parts;
    const at = record[CLASS_SURVIVOR] as number;
    if ((record[CLASS_COUNT] as number) < 2 || at === NO_SURVIVOR) return undefined;
    const state = members.at(numberAt(record, CLASS_AT_HIGH) + at).slice();
    const place = this.#names.of(state, 1)[0];
    if (place === undefined) return undefined;
    return { survivor: { state, place }, victims: this.#victims(record, state), isEnough };
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
