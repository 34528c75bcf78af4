import { setImmediate as nextTurn } from "node:timers/promises";
import type { Gains } from "../report/events.ts";
import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { Stat } from "../sys/stat.ts";
import { isEmptyDirectory } from "../tree/count.ts";
import { hasRoom, type Room } from "../tree/identity.ts";
import { Ref, type Store } from "../../store/store.ts";
import { BatchView } from "./batch-memory.ts";
import { countBatch } from "./batch-result.ts";
import { BatchRunner, discardsAny } from "./batch-runner.ts";
import { BatchPlanner, type KnownObject, type PlannedBatch } from "./batch-planner.ts";
import {
  ClassFormer,
  chooseCandidates,
  classLayout,
  gatherInodes,
  readKey,
  withoutNames,
  type ClassDoor,
} from "./classes.ts";
import { Directories } from "./directories.ts";
import { GainCounter } from "./gains.ts";
import { HeapReader } from "./heap.ts";
import {
  INODE_WORDS,
  INO_HIGH,
  INO_LOW,
  NAMES_AT_HIGH,
  NAMES_COUNT,
  PLACE_WORDS,
  comparedWords,
  numberAt,
} from "./layout.ts";
import type { RelinkTask } from "./messages.ts";
import { RecordWriter, ScatteredRecords } from "./record-file.ts";
import { openSources, type Sources } from "./stock-files.ts";
import { joined } from "../tree/path.ts";
import type { RelinkingParts } from "./relinking-parts.ts";
import { sealMeanwhile } from "./seal-meanwhile.ts";
import { RunSorter, mergeRuns, type Run } from "./sorter.ts";
import { RoomMaker } from "./make-room.ts";
import { setRefOfRead } from "./variant.ts";

/** Inodes to read, or directories of a batch, that are one task. */
const READ_TASK = 512;
/** A run shorter than this would spend more on rows than the next one could save. */
const ROWS_AFTER_MS = 5_000;
/** What the store, its index and a log need at first; with less, names are replaced without it. */
export const ROOM: Room = { bytes: 32 << 20, inodes: 1024 };
const NAMES_MOST = 131_072;
const NAMES_LEAST = 64;
/** What the log of a batch and its rows take for a name, at most and roughly. */
const BYTES_A_NAME = 2_048;

/** Drives a relink through its two passes (docs/design.md, "Relinking"; ADR 8). */
export class Relinking {
  readonly #parts: RelinkingParts;
  readonly #sources: Sources;
  readonly #heap: HeapReader;
  readonly #directories: Directories;
  readonly #stat: Stat;
  readonly #gains: GainCounter;
  #candidates = 0;
  /** What `--ignore-*` would gain in addition; once everything was read. */
  gains: Gains = {};
  #store: Store | undefined;
  #objectsFd: number;
  /** Asked before anything is adopted. */
  #beganEmpty: boolean | undefined;
  #runner: BatchRunner | undefined;
  /** Names that an object got before there was room for the store, by where its class begins. */
  readonly #linkedNames = new Map<number, number>();
  readonly #openStore: (() => Promise<Store>) | undefined;

  constructor(parts: RelinkingParts) {
    const { kernel, stockFd, files, rootFd, rules } = parts;
    this.#parts = parts;
    this.#store = parts.store;
    this.#objectsFd = parts.objectsFd;
    this.#openStore = parts.openStore;
    this.#sources = openSources(kernel, stockFd);
    const asked = { compared: rules.compared, hasStore: this.#objectsFd >= 0 };
    this.#gains = new GainCounter(kernel.sys, this.#sources.gainsFd, asked);
    this.#heap = new HeapReader(kernel.sys, files.heapFds);
    const { directoriesFd: fd, sortFds } = files;
    const door = { rootFd, device: rules.device, fd, heap: this.#heap, threads: sortFds.length };
    this.#directories = new Directories(kernel, door);
    this.#stat = new Stat(kernel.sys);
  }

  /** Stock, reading, acting. @returns false: cut short by a stop. @throws RunFailure, SysError */
  async run(): Promise<boolean> {
    return (await this.takeStock()) && (await this.heal());
  }

  /** Which inodes there are, and which of them have to be read; nothing is changed. As `run`. */
  async takeStock(): Promise<boolean> {
    const { phase, units } = this.#parts;
    phase("stock", units.length);
    if (!(await this.#walk())) return false;
    await this.#choose();
    return true;
  }

  /** What the stock calls for. As `run`. */
  async heal(): Promise<boolean> {
    if (this.#candidates === 0 && this.#openStore === undefined) {
      this.gains = this.#gains.sum();
      return true;
    }
    this.#parts.phase("read", this.#candidates);
    if (!(await this.#read())) return false;
    return this.#act(await this.#form());
  }

  async #walk(): Promise<boolean> {
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
    counters.aloneInodes = chooseCandidates(byClass, compared, {
      candidates: chosen,
      takesAll: full,
      met: (inode, isAlone) => {
        this.#gains.addGroup(inode, isAlone);
      },
    });
    const candidates = new RecordWriter(sys, files.candidatesFd, INODE_WORDS);
    for (const inode of mergeRuns(sys, chosen.finish(), byIno)) candidates.append(inode);
    candidates.flush();
    this.#candidates = candidates.count;
  }

  async #read(): Promise<boolean> {
    const { pool, recordsAtOnce } = this.#parts;
    const store = this.#store;
    const started = performance.now();
    const placesFd = this.#sources.placesFd;
    const count = this.#candidates;
    const tasks = function* (): Generator<RelinkTask> {
      for (let first = 0; first < count; first += READ_TASK) {
        const recordsRows =
          store !== undefined && (recordsAtOnce || performance.now() - started > ROWS_AFTER_MS);
        yield { type: "read", first, count: Math.min(READ_TASK, count - first), recordsRows, placesFd };
      }
    };
    return sealMeanwhile(store, () => pool.run(tasks()));
  }

  async #form() {
    const { kernel, pool, rules, lostNames = 0 } = this.#parts;
    const { sys } = kernel;
    const key = readKey(comparedWords(rules.compared));
    const members = new RecordWriter(sys, this.#sources.membersFd, INODE_WORDS);
    const classes = new RunSorter(sys, this.#sources.classesFd, classLayout);
    const former = new ClassFormer({ members, classes, door: this.#classDoor() });
    const group = rules.merge === "all" ? key.slice(0, -2) : key;
    const read = mergeRuns(sys, await pool.collect(), { words: INODE_WORDS, key });
    former.form(withoutNames(read, lostNames), group);
    this.gains = this.#gains.sum();
    return classes.finish();
  }

  #classDoor(): ClassDoor {
    const { kernel, rules } = this.#parts;
    const ref = new Ref(kernel.sys);
    const places = new ScatteredRecords(kernel.sys, this.#sources.placesFd, PLACE_WORDS);
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
        if (this.#hasNoObjects()) return new Set();
        return new Set(
          this.#objectsOf(setRefOfRead(ref, member, rules)).map(
            ({ inoHigh, inoLow }) => `${String(inoHigh)}:${String(inoLow)}`,
          ),
        );
      },
      formed: (survivor, isObject) => {
        this.#gains.addClass(survivor, isObject);
      },
      isPathBefore: (a, b) => pathOf(a).compare(pathOf(b)) < 0,
    };
  }

  /** A class is looked up before this run adopts one of it, and never again. */
  #hasNoObjects(): boolean {
    this.#beganEmpty ??=
      this.#objectsFd < 0 || isEmptyDirectory(this.#parts.kernel, this.#objectsFd, Buffer.from("."));
    return this.#beganEmpty && this.#parts.ahead === undefined;
  }

  #objectsOf(ref: Ref): KnownObject[] {
    const { kernel, ahead } = this.#parts;
    const objectsFd = this.#objectsFd;
    if (this.#hasNoObjects()) return [];
    const found: KnownObject[] = [];
    const stat = this.#stat;
    for (ref.sibling = 0; ; ref.sibling++) {
      const { address } = stat;
      const isThere = kernel.sys.statx(objectsFd, ref.format(), AT_SYMLINK_NOFOLLOW, address) >= 0;
      const { sibling } = ref;
      const { inoHigh, inoLow, nlink } = stat;
      const isLeaving = isThere && ahead?.isLeaving(inoLow, inoHigh) === true;
      const arrival = isThere && !isLeaving ? undefined : ahead?.arrivalAt(ref);
      if (!isThere && arrival === undefined) return found;
      if (arrival !== undefined) found.push(arrival);
      else if (!isLeaving) found.push({ sibling, inoHigh, inoLow, links: nlink });
    }
  }

  async #act(runs: readonly Run[]): Promise<boolean> {
    const { kernel, rules, linkLimit, phase, freeBytes, pool, counters } = this.#parts;
    phase("link", 0);
    if (this.#openStore !== undefined && !(await this.#makeRoom(runs, this.#openStore))) return false;
    const classes = mergeRuns(kernel.sys, runs, classLayout);
    const planner = new BatchPlanner({
      sys: kernel.sys,
      members: new ScatteredRecords(kernel.sys, this.#sources.membersFd, INODE_WORDS),
      places: new ScatteredRecords(kernel.sys, this.#sources.placesFd, PLACE_WORDS),
      heap: this.#heap,
      rules,
      linkLimit,
      objectsOf: (ref) => this.#objectsOf(ref),
      linkedNames: this.#linkedNames,
      batchNames: () => Math.max(NAMES_LEAST, Math.min(NAMES_MOST, Math.floor(freeBytes() / BYTES_A_NAME))),
    });
    for (const planned of planner.batches(classes)) {
      counters.siblings += planned.siblings;
      const isWhole = await this.#carryOut(planned);
      if (!isWhole || pool.control.isStopped) return false;
    }
    return true;
  }

  #runnerFor(store: Store): BatchRunner {
    const { kernel, rootFd, pool, rules } = this.#parts;
    this.#runner ??= new BatchRunner({
      kernel,
      rootFd,
      pool,
      store,
      directories: this.#directories,
      keepsDiscarded: discardsAny(rules.compared),
    });
    return this.#runner;
  }

  /** In a dry run the batch counts as done. */
  async #carryOut({ memory }: PlannedBatch): Promise<boolean> {
    const { counters, perUnit, batchDone } = this.#parts;
    const store = this.#store;
    const batch = new BatchView(memory);
    const pathOf = (id: number): Buffer => this.#directories.pathOf(id);
    const isWhole = store === undefined || (await this.#runnerFor(store).run(memory, batch));
    countBatch(batch, { counters, perUnit, isDryRun: store === undefined });
    batchDone(batch, (id, name) => joined(pathOf(id), name));
    return isWhole;
  }

  /**
   * On a full disk: duplicates give way to the surviving name itself, those first that free most, until there is room
   * for the store. What was replaced so is found done by the batches that follow, which name the objects.
   * @returns false: cut short by a stop
   */
  async #makeRoom(runs: readonly Run[], openStore: () => Promise<Store>): Promise<boolean> {
    const { kernel, rootFd, rules, pool, failed, counters, perUnit, linkLimit } = this.#parts;
    const { sys } = kernel;
    // What survives must be on the disk before anything gives way to it (P2).
    check(sys.syncfs(rootFd), "syncfs");
    const maker = new RoomMaker({
      ...{ kernel, rootFd, objectsFd: this.#objectsFd, rules, directories: this.#directories, failed },
      ...{ heap: this.#heap, linkLimit, isEnough: () => hasRoom(sys, rootFd, ROOM) },
      members: new ScatteredRecords(kernel.sys, this.#sources.membersFd, INODE_WORDS),
      places: new ScatteredRecords(kernel.sys, this.#sources.placesFd, PLACE_WORDS),
      objectsOf: (ref) => this.#objectsOf(ref),
      linkedNames: this.#linkedNames,
      replaced: ({ unit, directory, name }) => {
        this.#parts.nameDone?.(joined(this.#directories.pathOf(directory), name));
        counters.linkedNames++;
        perUnit.names[unit] = (perUnit.names[unit] as number) + 1;
      },
    });
    for (const isEnough of maker.run(mergeRuns(kernel.sys, runs, classLayout))) {
      await nextTurn();
      if (pool.control.isStopped) return false;
      if (isEnough) break;
    }
    // Blocks that were freed wait for the journal.
    check(sys.syncfs(rootFd), "syncfs");
    this.#store = await openStore();
    this.#objectsFd = this.#store.directories.objectsFd;
    await pool.tellAll({ type: "store", store: this.#store.shared });
    return true;
  }

  /** Everything durable, and rows of it in the index. @throws SysError */
  async seal(): Promise<void> {
    await this.#store?.seal();
    await this.#store?.sync();
  }

  close(): void {
    this.#directories.close();
    for (const fd of Object.values(this.#sources)) this.#parts.kernel.sys.close(fd);
  }
}
