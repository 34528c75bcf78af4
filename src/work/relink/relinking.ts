import type { RelinkCounters } from "../../report/events.ts";
import { AT_SYMLINK_NOFOLLOW } from "../../sys/constants.ts";
import { check } from "../../sys/errors.ts";
import type { Kernel } from "../../sys/files.ts";
import { Stat } from "../../sys/stat.ts";
import type { Unit } from "../../tree/snapshots.ts";
import { Ref, type Store } from "../../../store/store.ts";
import { forgetBatchLog, writeBatchLog } from "./batch-log.ts";
import { BatchView, type BatchMemory } from "./batch-memory.ts";
import { countBatch } from "./batch-result.ts";
import { BatchPlanner, type KnownObject, type PlannedBatch } from "./batch-planner.ts";
import {
  ClassFormer,
  chooseCandidates,
  classLayout,
  gatherInodes,
  readKey,
  type ClassDoor,
} from "./classes.ts";
import { Directories } from "./directories.ts";
import { HeapReader } from "./heap.ts";
import {
  DIGEST,
  DIGEST_WORDS,
  INODE_WORDS,
  INO_HIGH,
  INO_LOW,
  NAMES_AT_HIGH,
  NAMES_COUNT,
  PLACE_WORDS,
  comparedWords,
  numberAt,
} from "./layout.ts";
import type { RelinkRules, RelinkTask, StockFiles } from "./messages.ts";
import { RecordReader, RecordWriter, openScratch } from "./record-file.ts";
import { joined } from "./relink-thread.ts";
import type { RelinkPool } from "./relink-pool.ts";
import { RunSorter, mergeRuns } from "./sorter.ts";
import { variantOfRead } from "./variant.ts";

/** Inodes to read, or directories of a batch, that are one task. */
const READ_TASK = 512;
const SEAL_EVERY_MS = 10_000;
/** A run shorter than this would spend more on rows than the next one could save. */
const ROWS_AFTER_MS = 5_000;
const NAMES_MOST = 65_536;
const NAMES_LEAST = 64;
/** What the log of a batch and its rows take for a name, at most and roughly. */
const BYTES_A_NAME = 2_048;

type Sources = { placesFd: number; inodesFd: number; chosenFd: number; membersFd: number; classesFd: number };

export type RelinkingParts = {
  kernel: Kernel;
  pool: RelinkPool;
  files: StockFiles;
  rules: RelinkRules;
  rootFd: number;
  stockFd: number;
  units: readonly Unit[];
  full: boolean;
  linkLimit: number;
  /** Where objects are looked for; -1 for none. */
  objectsFd: number;
  /** Undefined in a dry run. */
  store: Store | undefined;
  counters: RelinkCounters;
  perUnit: { names: Float64Array; freedBytes: Float64Array };
  freeBytes: () => number;
  phase: (phase: "stock" | "read" | "link", total: number) => void;
  batchDone: (batch: BatchView, pathOf: (id: number, name: Buffer) => Buffer) => void;
};

export function openStockFiles(kernel: Kernel, stockFd: number, jobs: number): StockFiles {
  const each = (name: string): number[] =>
    Array.from({ length: jobs }, (_, worker) => openScratch(kernel, stockFd, `${name}.${String(worker)}`));
  return {
    directoriesFd: openScratch(kernel, stockFd, "directories"),
    heapFds: each("heap"),
    sortFds: each("sort"),
    candidatesFd: openScratch(kernel, stockFd, "candidates"),
  };
}

/** Drives a relink through its two passes (docs/design.md, "Relinking"; ADR 8). */
export class Relinking {
  readonly #parts: RelinkingParts;
  readonly #sources: Sources;
  readonly #heap: HeapReader;
  readonly #directories: Directories;
  readonly #stat: Stat;
  #candidates = 0;

  constructor(parts: RelinkingParts) {
    const { kernel, stockFd, files, rootFd, rules } = parts;
    this.#parts = parts;
    const open = (name: string): number => openScratch(kernel, stockFd, name);
    this.#sources = {
      placesFd: open("places"),
      inodesFd: open("inodes"),
      chosenFd: open("chosen"),
      membersFd: open("members"),
      classesFd: open("classes"),
    };
    this.#heap = new HeapReader(kernel.sys, files.heapFds);
    const door = { rootFd, device: rules.device, fd: files.directoriesFd, heap: this.#heap };
    this.#directories = new Directories(kernel, door);
    this.#stat = new Stat(kernel.sys);
  }

  /** Stock, reading, acting. @returns false: cut short by a stop. @throws RunFailure, SysError */
  async run(): Promise<boolean> {
    const { phase, units } = this.#parts;
    phase("stock", units.length);
    if (!(await this.#takeStock())) return false;
    await this.#choose();
    phase("read", this.#candidates);
    if (!(await this.#read())) return false;
    const runs = await this.#form();
    return this.#act(mergeRuns(this.#parts.kernel.sys, runs, classLayout));
  }

  async #takeStock(): Promise<boolean> {
    const { pool, units } = this.#parts;
    return pool.run(
      units.map(({ path, type }, unit): RelinkTask => ({
        type: "walk",
        unit,
        path,
        directory: -1,
        isLoose: type === "loose",
        subdirectories: undefined,
      })),
    );
  }

  /** Names -> inodes -> those that may have an equal, in the order in which they lie on the disk. */
  async #choose(): Promise<void> {
    const { kernel, pool, rules, files, counters, full } = this.#parts;
    const { sys } = kernel;
    const compared = comparedWords(rules.compared);
    const key = [...compared, INO_HIGH, INO_LOW];
    const names = await pool.collect();
    const inodes = new RunSorter(sys, this.#sources.inodesFd, { words: INODE_WORDS, key });
    const places = new RecordWriter(sys, this.#sources.placesFd, PLACE_WORDS);
    const isWanted = (sizeBytes: number): boolean =>
      sizeBytes >= rules.minSizeBytes && sizeBytes <= rules.maxSizeBytes;
    const counts = gatherInodes(sys, names, { places, inodes, isWanted });
    counters.inodes = counts.inodes;
    counters.bytes = counts.bytes;
    counters.twiceInodes = counts.twiceInodes;
    const byIno = { words: INODE_WORDS, key: [INO_HIGH, INO_LOW] };
    const chosen = new RunSorter(sys, this.#sources.chosenFd, byIno);
    const byClass = mergeRuns(sys, inodes.finish(), { words: INODE_WORDS, key });
    counters.aloneInodes = chooseCandidates(byClass, compared, { candidates: chosen, takesAll: full });
    const candidates = new RecordWriter(sys, files.candidatesFd, INODE_WORDS);
    for (const inode of mergeRuns(sys, chosen.finish(), byIno)) candidates.append(inode);
    candidates.flush();
    this.#candidates = candidates.count;
  }

  async #read(): Promise<boolean> {
    const { pool, store } = this.#parts;
    const started = performance.now();
    let isSealing = false;
    const timer = setInterval(() => {
      if (store === undefined || isSealing) return;
      isSealing = true;
      void store.seal().finally(() => (isSealing = false));
    }, SEAL_EVERY_MS);
    const placesFd = this.#sources.placesFd;
    const count = this.#candidates;
    try {
      return await pool.run(
        (function* (): Generator<RelinkTask> {
          for (let first = 0; first < count; first += READ_TASK) {
            const recordsRows = performance.now() - started > ROWS_AFTER_MS;
            yield { type: "read", first, count: Math.min(READ_TASK, count - first), recordsRows, placesFd };
          }
        })(),
      );
    } finally {
      clearInterval(timer);
    }
  }

  async #form() {
    const { kernel, pool, rules } = this.#parts;
    const { sys } = kernel;
    const key = readKey(comparedWords(rules.compared));
    const members = new RecordWriter(sys, this.#sources.membersFd, INODE_WORDS);
    const classes = new RunSorter(sys, this.#sources.classesFd, classLayout);
    const former = new ClassFormer({ members, classes, door: this.#classDoor() });
    former.form(mergeRuns(sys, await pool.collect(), { words: INODE_WORDS, key }), key);
    return classes.finish();
  }

  #classDoor(): ClassDoor {
    const { kernel, rules } = this.#parts;
    const ref = new Ref(kernel.sys);
    const places = new RecordReader(kernel.sys, this.#sources.placesFd, PLACE_WORDS, 4096);
    const pathOf = (inode: Uint32Array): Buffer => {
      const first = numberAt(inode, NAMES_AT_HIGH);
      const paths = Array.from({ length: inode[NAMES_COUNT] as number }, (_, index) => {
        const place = places.at(first + index).slice();
        return joined(this.#directories.pathOf(place[0] as number), this.#heap.read(place, 1));
      });
      return paths.reduce((least, path) => (path.compare(least) < 0 ? path : least));
    };
    return {
      objectsOf: (member) => {
        const digest = Buffer.from(member.slice(DIGEST, DIGEST + DIGEST_WORDS).buffer);
        ref.setObject(digest, variantOfRead(member, rules.compared), undefined);
        return new Set(
          this.#objectsOf(ref).map(({ inoHigh, inoLow }) => `${String(inoHigh)}:${String(inoLow)}`),
        );
      },
      isPathBefore: (a, b) => pathOf(a).compare(pathOf(b)) < 0,
    };
  }

  #objectsOf(ref: Ref): KnownObject[] {
    const { kernel, objectsFd } = this.#parts;
    if (objectsFd < 0) return [];
    const found: KnownObject[] = [];
    const stat = this.#stat;
    for (ref.sibling = 0; ; ref.sibling++) {
      const { address } = stat;
      if (kernel.sys.statx(objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, address) < 0) return found;
      const { inoHigh, inoLow, nlink } = stat;
      found.push({ sibling: ref.sibling, inoHigh, inoLow, links: nlink });
    }
  }

  async #act(classes: Iterable<Uint32Array>): Promise<boolean> {
    const { kernel, rules, linkLimit, phase, freeBytes, pool, counters } = this.#parts;
    phase("link", 0);
    const planner = new BatchPlanner({
      sys: kernel.sys,
      members: new RecordReader(kernel.sys, this.#sources.membersFd, INODE_WORDS),
      places: new RecordReader(kernel.sys, this.#sources.placesFd, PLACE_WORDS),
      heap: this.#heap,
      compared: rules.compared,
      linkLimit,
      objectsOf: (ref) => this.#objectsOf(ref),
      batchNames: () => Math.max(NAMES_LEAST, Math.min(NAMES_MOST, Math.floor(freeBytes() / BYTES_A_NAME))),
    });
    for (const planned of planner.batches(classes)) {
      counters.siblings += planned.siblings;
      const isWhole = await this.#carryOut(planned);
      if (!isWhole || pool.control.isStopped) return false;
    }
    return true;
  }

  /** The numbered order of docs/design.md, "Relinking". In a dry run the batch counts as done. */
  async #carryOut({ memory }: PlannedBatch): Promise<boolean> {
    const { store, counters, perUnit, batchDone } = this.#parts;
    const batch = new BatchView(memory);
    const pathOf = (id: number): Buffer => this.#directories.pathOf(id);
    const isWhole = store === undefined || (await this.#change(memory, batch, store));
    countBatch(batch, { counters, perUnit, isDryRun: store === undefined });
    batchDone(batch, (id, name) => joined(pathOf(id), name));
    return isWhole;
  }

  async #change(memory: BatchMemory, batch: BatchView, store: Store): Promise<boolean> {
    const { kernel, pool } = this.#parts;
    const { logFd, objectsFd, tmpFd } = store.directories;
    const more = { batch: memory, store: { objectsFd, tmpFd } };
    const on = (type: "prepare" | "replace"): Generator<RelinkTask> =>
      tasksOf(batch.directoryCount, pool.jobs, (range) => ({ type, ...range, ...more }));
    await pool.run(
      tasksOf(batch.targetCount, pool.jobs, (range) => ({ type: "adopt", ...range, batch: memory })),
    );
    if (!(await pool.run(on("prepare")))) return false;
    writeBatchLog(kernel, logFd, batch, (id) => this.#directories.pathOf(id));
    await store.seal();
    const isWhole = await pool.run(on("replace"));
    forgetBatchLog(kernel, logFd);
    return isWhole;
  }

  close(): void {
    const { kernel, files } = this.#parts;
    this.#directories.close();
    const fds = [files.directoriesFd, files.candidatesFd, ...files.heapFds, ...files.sortFds];
    for (const fd of [...fds, ...Object.values(this.#sources)]) check(kernel.sys.close(fd), "close");
  }
}

type Range = { first: number; count: number };

/** As many tasks as keep all threads at work until the end. */
function* tasksOf(count: number, jobs: number, task: (range: Range) => RelinkTask): Generator<RelinkTask> {
  const size = Math.max(1, Math.min(READ_TASK, Math.ceil(count / (jobs * 8))));
  for (let first = 0; first < count; first += size)
    yield task({ first, count: Math.min(size, count - first) });
}
