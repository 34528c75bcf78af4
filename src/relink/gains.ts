import type { Compared } from "../options.ts";
import type { Gain, Gains } from "../report/events.ts";
import type { Sys } from "../sys/sys.ts";
import { freedBytes } from "./classes.ts";
import {
  DIGEST,
  DIGEST_WORDS,
  GID,
  MODE,
  MTIME,
  SIZE_HIGH,
  SIZE_LOW,
  UID,
  XATTR_MARK,
  numberAt,
  putNumber,
} from "./layout.ts";
import { mergeRuns, RunSorter } from "./sorter.ts";

/** What an option lets differ, in words of an inode's record. */
const attributes = {
  time: [MTIME, MTIME + 1, MTIME + 2],
  mode: [MODE],
  owner: [UID, GID],
  xattrs: [XATTR_MARK, XATTR_MARK + 1],
} as const;
type Attribute = keyof typeof attributes;

const QUESTION = 0;
const HASH = 1;
const BYTES_HIGH = 3;
/** 1: the inode was not read. */
const ALONE = 5;
const WORDS = 6;
const layout = { words: WORDS, key: [QUESTION, HASH, HASH + 1] };

/** "all": every attribute is ignored. */
type Question = { option: Attribute | "all"; isRead: boolean; words: readonly number[] };

/**
 * What `--ignore-*` would gain in addition: of what was read how many classes would become one, and how much the inodes
 * take that were not read and would have a possible equal then. By hashes, as a report needs no more.
 */
export class GainCounter {
  readonly #sys: Sys;
  readonly #sorter: RunSorter;
  readonly #questions: Question[];
  readonly #hasStore: boolean;

  constructor(sys: Sys, fd: number, { compared, hasStore }: { compared: Compared; hasStore: boolean }) {
    this.#sys = sys;
    this.#hasStore = hasStore;
    this.#sorter = new RunSorter(sys, fd, layout);
    const all = (Object.keys(attributes) as Attribute[]).filter((attribute) => compared[attribute]);
    const options = all.length > 1 ? [...all, "all" as const] : all;
    this.#questions = options.flatMap((option) =>
      [true, false].map((isRead) => {
        const kept = all.filter((attribute) => option !== "all" && attribute !== option);
        const known = kept.filter((attribute) => isRead || attribute !== "xattrs");
        const digest = Array.from({ length: isRead ? DIGEST_WORDS : 0 }, (_, index) => DIGEST + index);
        const words = [SIZE_HIGH, SIZE_LOW, ...digest, ...known.flatMap((each) => attributes[each])];
        return { option, isRead, words };
      }),
    );
  }

  /** A class of inodes with the same content and attributes, by the one that survives; `isObject`: the store names it, too. */
  addClass(survivor: Uint32Array, isObject: boolean): void {
    this.#add(survivor, { isRead: true, alone: 0, bytes: freedBytes(survivor, isObject ? 1 : 0) });
  }

  /** Inodes with the same size and attributes, by any of them; `isAlone`: it is the only one, and was not read. */
  addGroup(inode: Uint32Array, isAlone: boolean): void {
    // Whether the store names it is not known without its digest: it is told how much it takes at most.
    const bytes = freedBytes(inode) || (this.#hasStore ? freedBytes(inode, 1) : 0);
    this.#add(inode, { isRead: false, alone: isAlone ? 1 : 0, bytes });
  }

  #add(
    inode: Uint32Array,
    { isRead, alone, bytes }: { isRead: boolean; alone: number; bytes: number },
  ): void {
    this.#questions.forEach((question, index) => {
      if (question.isRead !== isRead) return;
      const record = this.#sorter.next();
      record[QUESTION] = index;
      hashWords(inode, question.words, record);
      putNumber(record, BYTES_HIGH, bytes);
      record[ALONE] = alone;
    });
  }

  /** Options that would gain nothing are left out. */
  sum(): Gains {
    const gains: Gains = {};
    const met = { question: -1, high: 0, low: 0, ...none };
    const end = (): void => {
      const question = this.#questions[met.question];
      if (question === undefined || met.count < 2) return;
      const found = gainOf(question, met);
      if (found.inodes + found.unreadInodes === 0) return;
      const gain = (gains[question.option] ??= zeroGain());
      for (const field of fields) gain[field] += found[field];
    };
    for (const record of mergeRuns(this.#sys, this.#sorter.finish(), layout)) {
      const [question = 0, high = 0, low = 0] = record;
      if (question !== met.question || high !== met.high || low !== met.low) {
        end();
        Object.assign(met, none, { question, high, low });
      }
      const bytes = numberAt(record, BYTES_HIGH);
      const isAlone = record[ALONE] === 1;
      met.count++;
      met.bytes += bytes;
      met.most = Math.max(met.most, bytes);
      met.alone += isAlone ? 1 : 0;
      met.aloneBytes += isAlone ? bytes : 0;
    }
    end();
    return gains;
  }
}

/** What shares a hash. */
const none = { count: 0, bytes: 0, most: 0, alone: 0, aloneBytes: 0 };

const zeroGain = (): Gain => ({ inodes: 0, bytes: 0, unreadInodes: 0, unreadBytes: 0 });
const fields = Object.keys(zeroGain()) as (keyof Gain)[];

/** One of them stays. */
function gainOf({ isRead }: Question, met: typeof none): Gain {
  if (isRead) return { ...zeroGain(), inodes: met.count - 1, bytes: met.bytes - met.most };
  const isOneOfThem = met.alone === met.count;
  return {
    ...zeroGain(),
    unreadInodes: met.alone - (isOneOfThem ? 1 : 0),
    unreadBytes: met.aloneBytes - (isOneOfThem ? met.most : 0),
  };
}

/** Two words, mixed as by MurmurHash3. */
function hashWords(inode: Uint32Array, words: readonly number[], record: Uint32Array): void {
  let high = 0x9747b28c;
  let low = 0x2f0b4f21;
  for (const word of words) {
    const mixed = Math.imul(inode[word] as number, 0xcc9e2d51);
    const turned = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    high = (Math.imul(((high ^ turned) << 13) | ((high ^ turned) >>> 19), 5) + 0xe6546b64) | 0;
    low = Math.imul(low ^ turned ^ (high >>> 16), 0x85ebca6b);
    low ^= low >>> 13;
  }
  record[HASH] = high >>> 0;
  record[HASH + 1] = low >>> 0;
}
