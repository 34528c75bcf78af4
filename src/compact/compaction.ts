import { DT_DIR, DT_UNKNOWN } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { zeroRelinkCounters, type CompactStep, type RelinkCounters } from "../report/events.ts";
import { Listing } from "../tree/listing.ts";
import { plannedDirectories } from "../tree/snapshots.ts";
import type { IndexRow } from "../../store/store.ts";
import { InodeSet } from "../verify/inode-set.ts";
import type { StockChoice } from "../relink/messages.ts";
import type { RelinkPool } from "../relink/relink-pool.ts";
import { Relinking } from "../relink/relinking.ts";
import type { RelinkingParts } from "../relink/relinking-parts.ts";
import { sealMeanwhile } from "../relink/seal-meanwhile.ts";
import { MOVED, SIBLING, UNINDEXED, UNNAMED, attentionLayout, decisionLayout } from "./attention.ts";
import { Foresight } from "./foresight.ts";
import type { CompactTold, OwnTask } from "./messages.ts";
import { RecordList, stretchOf, tasksOf, type Unnamed } from "./record-lists.ts";
import type { CompactState } from "./state.ts";
import type { SweptInode } from "./swept-inodes.ts";

type Taken =
  | "kernel"
  | "files"
  | "rules"
  | "rootFd"
  | "stockFd"
  | "units"
  | "linkLimit"
  | "objectsFd"
  | "store"
  | "failed"
  | "freeBytes"
  | "batchDone"
  | "recordsAtOnce";
export type CompactionParts = Pick<RelinkingParts, Taken> & {
  pool: RelinkPool<OwnTask, CompactTold>;
  steps: ReadonlySet<CompactStep>;
  groupsFd: number;
  trustsDirentIno: boolean;
  state: CompactState;
  /** What the sweep is to take names from. */
  swept: () => Iterable<SweptInode>;
  /** Without the filter: findings are told with all their names. */
  allUnits: RelinkingParts["units"];
  /** What is being done now. */
  begun: (step: CompactStep | "look") => void;
};

const DIRECTORIES_A_TASK = 4;
/** With less room than this, what nobody names goes first. */
const CRAMPED_BYTES = 32 << 20;
const isFanOut = /^[0-9a-f]{2}$/;

/** Drives a compact: what is to be done is found out first, then done (docs/design.md, "Compacting"; ADR 12). */
export class Compaction {
  readonly #parts: CompactionParts;
  /** Of the new inodes, and of those that are merged again. */
  readonly counters: RelinkCounters[] = [];
  /** Of the new inodes alone. */
  readonly adopted = zeroRelinkCounters();
  #attention: RecordList | undefined;
  /** Taken down anew once other names went. */
  #unnamed: RecordList | undefined;
  #decisions: RecordList | undefined;
  /** In a dry run. */
  readonly #ahead: Foresight | undefined;
  #isForeseen = false;
  #adoption: Relinking | undefined;
  #inStore = { objects: 0, holders: 0 };
  #walked: { names: number; directories: number } | undefined;

  constructor(parts: CompactionParts) {
    this.#parts = parts;
    if (parts.store === undefined) this.#ahead = new Foresight(parts);
  }

  get unnamed(): Unnamed {
    if (this.#isForeseen && this.#ahead !== undefined) return this.#ahead.pruned;
    return this.#attention?.unnamed ?? { objects: 0, holders: 0, bytes: 0 };
  }
  /** Objects that are to be read for the index. */
  get unindexed(): number {
    if (this.#isForeseen) return this.#parts.state.counts.indexed;
    return this.#parts.steps.has("index") ? (this.#attention?.of(UNINDEXED).count ?? 0) : 0;
  }

  get toRefile(): number {
    return this.#parts.state.counts.toRefile - (this.#ahead?.kept ?? 0);
  }

  /** As counted when everything was looked at. */
  get inStore(): { objects: number; holders: number } {
    return this.#inStore;
  }

  /** Names in the snapshots, and the directories among them. */
  get walked(): { names: number; directories: number } {
    const { names, directories } = this.#walked ?? this.#parts.pool.tally.sum();
    const planned = names > 0 ? plannedDirectories(this.#parts.allUnits) : 0;
    return { names: names + planned, directories: directories + planned };
  }

  /** Looks at the store and the names, and changes neither. @returns false: cut short by a stop. @throws RunFailure, SysError */
  async plan(): Promise<boolean> {
    const { begun, steps } = this.#parts;
    begun("look");
    const scanned = await this.#scan("everything");
    this.#attention = scanned.list;
    const { objects, holders } = this.#parts.state.counts;
    this.#inStore = { objects, holders };
    if (!scanned.isWhole) return false;
    if (steps.has("refile") && !(await this.#examine(MOVED))) return false;
    if (steps.has("fold") && !(await this.#fold("plan"))) return false;
    return this.#walk();
  }

  /** In a dry run: the steps of `carryOut`, with what would be read to know it. As `plan`. */
  async foresee(): Promise<boolean> {
    const { steps, freeBytes, begun, state, swept } = this.#parts;
    const ahead = this.#ahead;
    if (ahead === undefined) throw new Error("this is no dry run");
    const unnamed = stretchOf(this.#attention, UNNAMED);
    if (freeBytes() < CRAMPED_BYTES) ahead.prune(unnamed);
    ahead.refile(stretchOf(this.#decisions));
    begun("adopt");
    if (this.#adoption !== undefined && !(await this.#adoption.heal())) return false;
    ahead.adopted();
    ahead.prune(unnamed);
    ahead.pruneSwept(swept());
    ahead.fold(state.folding);
    if (steps.has("index")) {
      if (!(await this.#examine(UNINDEXED)) || !(await this.#tell())) return false;
      ahead.refile(stretchOf(this.#decisions));
    }
    this.#isForeseen = await this.#mergeAgain(ahead.again.take());
    return this.#isForeseen;
  }

  /** Once all is foreseen, as `Foresight.keepsRow`. */
  keepsRow(row: IndexRow): boolean | undefined {
    return this.#ahead?.keepsRow(row);
  }

  /** `swept`: names have gone since the plan. As `plan`. */
  async carryOut(swept: boolean): Promise<boolean> {
    const { steps, freeBytes, begun } = this.#parts;
    if (steps.has("prune") && freeBytes() < CRAMPED_BYTES && !(await this.#prune())) return false;
    if (!(await this.#move())) return false;
    if (this.#adoption !== undefined) {
      begun("adopt");
      if (!(await this.#adoption.heal()) || !(await this.#tell())) return false;
    }
    if (steps.has("prune")) {
      if (swept || this.#parts.state.counts.refiled > 0) {
        const scanned = await this.#scan("links");
        this.#unnamed = scanned.list;
        if (!scanned.isWhole) return false;
      }
      if (!(await this.#prune())) return false;
    }
    if (steps.has("fold") && !(await this.#fold("act"))) return false;
    if (steps.has("index") && !(await this.#learn())) return false;
    return this.#mergeAgain(this.#parts.state.again.take());
  }

  async #scan(looksAt: "everything" | "links"): Promise<{ list: RecordList; isWhole: boolean }> {
    const { pool, kernel, stockFd, objectsFd, groupsFd, steps, state } = this.#parts;
    const [objects, groups] = [
      this.#fanOut("objects", objectsFd, looksAt),
      this.#fanOut("groups", groupsFd, looksAt),
    ];
    state.counts.objects = 0;
    state.counts.holders = 0;
    const prunes = steps.has("prune");
    const isWhole = await pool.run(
      (function* (): Generator<OwnTask> {
        for (const some of inParts(objects))
          yield { type: "scan", objects: some, groups: [], looksAt, prunes };
        for (const some of inParts(groups))
          yield { type: "scan", objects: [], groups: some, looksAt, prunes };
      })(),
    );
    const runs = await pool.collect();
    return { list: new RecordList(kernel, { stockFd, name: "attention", runs }, attentionLayout), isWhole };
  }

  #fanOut(parent: "objects" | "groups", fd: number, looksAt: "everything" | "links"): string[] {
    const { sys, scratch } = this.#parts.kernel;
    if (fd < 0) return [];
    const path = `.dedupe/${parent}`;
    const own = check(sys.openat(fd, scratch.text("."), sys.O_DIRECTORY, 0), "openat", path);
    const listing = new Listing(sys);
    const found: string[] = [];
    while (check(listing.read(own), "getdents64", path) > 0) {
      while (listing.next()) {
        const name = listing.copyName().toString("latin1");
        if (isFanOut.test(name) && (listing.type === DT_DIR || listing.type === DT_UNKNOWN)) found.push(name);
        else if (looksAt === "everything") this.#foreign(`${path}/${name}`);
      }
    }
    sys.close(own);
    return found.sort();
  }

  #foreign(path: string): void {
    this.#parts.state.take({
      type: "finding",
      finding: { path: Buffer.from(path, "latin1"), class: "foreign" },
    });
  }

  /** Decides about the records of a kind; decisions of an earlier call are gone. */
  async #examine(kind: number): Promise<boolean> {
    const { pool, kernel, stockFd, store, begun } = this.#parts;
    begun(kind === MOVED ? "refile" : "index");
    const recordsRows = store !== undefined;
    const stretch = stretchOf(this.#attention, kind);
    const tasks = tasksOf(this.#ahead?.remaining(stretch) ?? [stretch], (range) => ({
      type: "examine",
      recordsRows,
      ...range,
    }));
    const isWhole = await sealMeanwhile(store, () => pool.run(tasks));
    const runs = await pool.collect();
    this.#decisions?.close();
    this.#decisions = new RecordList(kernel, { stockFd, name: "decisions", runs }, decisionLayout);
    return isWhole;
  }

  /** The names of the snapshots: new inodes are taken down, those of findings told. */
  async #walk(): Promise<boolean> {
    const { steps, state, rules } = this.#parts;
    const isFiltered = rules.filter !== undefined;
    if (!steps.has("adopt")) return this.#tell();
    if (isFiltered && !(await this.#tell())) return false;
    const again = state.again.take() ?? new InodeSet();
    await this.#choose({ takes: "new", again, told: state.takeUntold(), isFiltered: true });
    this.#adoption = this.#relinking(this.adopted);
    return this.#adoption.takeStock();
  }

  /** Which names show content that an object should not have: said before that object is touched. */
  async #tell(): Promise<boolean> {
    const { state, pool, allUnits: units } = this.#parts;
    if (!state.hasUntold) return true;
    await this.#choose({
      takes: "again",
      again: new InodeSet(),
      told: state.takeUntold(),
      isFiltered: false,
    });
    const isWhole = await pool.run(
      units.map(({ path, type }, unit) => {
        const at = { unit, path, directory: -1, subdirectories: undefined };
        return { type: "walk", isLoose: type === "loose", ...at } as const;
      }),
    );
    await pool.collect();
    return isWhole;
  }

  async #choose(
    choice: Pick<StockChoice, "takes" | "told" | "isFiltered"> & { again: InodeSet },
  ): Promise<void> {
    const { pool, state, trustsDirentIno } = this.#parts;
    // A walk is about to begin: further ones meet the same names.
    const { names, directories } = pool.tally.sum();
    if (names > 0) this.#walked ??= { names, directories };
    const sets = { known: state.known.shared, again: choice.again.shared };
    await pool.tellAll({ type: "choice", choice: { ...choice, ...sets, trustsDirentIno } });
  }

  #relinking(counters: RelinkCounters, lostNames = 0): Relinking {
    const { units } = this.#parts;
    const ahead = this.#ahead;
    this.counters.push(counters);
    const perUnit = {
      names: new Float64Array(units.length),
      freedBytes: new Float64Array(units.length),
    };
    const more = { openStore: undefined, full: true, counters, perUnit, phase: () => undefined };
    const batchDone: RelinkingParts["batchDone"] = (batch, pathOf) => {
      ahead?.took(batch);
      this.#parts.batchDone(batch, pathOf);
    };
    return new Relinking({ ...this.#parts, ...more, ahead, lostNames, batchDone });
  }

  async #move(): Promise<boolean> {
    const { pool, begun, steps } = this.#parts;
    const decided = stretchOf(this.#decisions);
    if (decided.count === 0) return true;
    begun("refile");
    const prunes = steps.has("prune");
    return pool.run(tasksOf([decided], (range) => ({ type: "move", prunes, ...range })));
  }

  async #prune(): Promise<boolean> {
    const { pool, begun } = this.#parts;
    begun("prune");
    const stretch = stretchOf(this.#unnamed ?? this.#attention, UNNAMED);
    return pool.run(tasksOf([stretch], (range) => ({ type: "prune", ...range })));
  }

  /** One task: the inodes of an object are dealt with together, and few objects have several. */
  async #fold(how: "plan" | "act"): Promise<boolean> {
    const { pool, linkLimit, begun } = this.#parts;
    const stretch = stretchOf(this.#attention, SIBLING);
    if (stretch.count === 0) return true;
    begun("fold");
    return pool.run([{ type: "fold", ...stretch, linkLimit, isDryRun: how === "plan" }]);
  }

  /** What the index does not know is read; what is not what its name says then gets its true one. */
  async #learn(): Promise<boolean> {
    return (await this.#examine(UNINDEXED)) && (await this.#tell()) && (await this.#move());
  }

  /** What lost its name in the store, because another inode has it, is merged with that one. */
  async #mergeAgain(again: InodeSet | undefined): Promise<boolean> {
    if (again === undefined) return true;
    this.#parts.begun("adopt");
    await this.#choose({ takes: "again", again, told: [], isFiltered: true });
    const relinking = this.#relinking(zeroRelinkCounters(), this.#ahead?.lostNames);
    try {
      const isWhole = (await relinking.run()) && (await this.#tell());
      this.#ahead?.adopted();
      return isWhole;
    } finally {
      relinking.close();
    }
  }

  close(): void {
    for (const list of [this.#attention, this.#unnamed, this.#decisions]) list?.close();
    this.#adoption?.close();
    this.#ahead?.close();
  }
}

function* inParts(names: readonly string[]): Generator<string[]> {
  for (let at = 0; at < names.length; at += DIRECTORIES_A_TASK)
    yield names.slice(at, at + DIRECTORIES_A_TASK);
}
