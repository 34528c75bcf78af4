import { setImmediate as nextTurn } from "node:timers/promises";
import { signalExitCodes } from "../exit-codes.ts";
import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check, isSysError } from "../sys/errors.ts";
import { ensureDirectory } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { STORE_NAME, takeLock } from "../../store/store.ts";
import { finishInterrupted } from "../relink/finish-interrupted.ts";
import type { Interrupted } from "../relink/interrupted.ts";
import type { Outcome } from "../repair/damaged.ts";
import { RecordedObjects } from "../repair/recorded.ts";
import { Repair } from "../repair/repair.ts";
import { RunFailure } from "../work/errors.ts";
import { CrewFailure } from "../verify/crew.ts";
import type { Affected, Failure, Finding, StoreRules } from "../verify/messages.ts";
import type { StopReason } from "./context.ts";
import { leftover } from "./open-target.ts";
import { openNamed, targetRefusal, tellNotices, type Root } from "./preflight.ts";
import { aboutExchange } from "./prove-target.ts";
import { openIndex, type Strangers } from "./verify-deleted.ts";
import { tellAffected, tellFailure, type Ending, type VerifyRun } from "./verify-run.ts";
import { openReadStore, type ReadStore } from "./verify-target.ts";

/** Objects of which a copy lies in tmp/ at once: what the target needs room for. */
const BATCH_OBJECTS = 64;

/** What a filesystem says of blocks that cannot be read, or are not what their checksum says. */
const DAMAGED: ReadonlySet<string> = new Set(["EIO", "EBADMSG", "EUCLEAN"]);
const OBJECT = /^\.dedupe\/objects\/..\/./;

/** Locked against everyone, and what a killed run left is finished. @throws DedupeError */
export function openForRepair(run: VerifyRun, target: Root): ReadStore | undefined {
  const { writer } = run;
  try {
    const store = openReadStore(run.kernel, target, (storeFd) => takeLock(writer, storeFd));
    if (store === undefined) return undefined;
    const parts = openParts(run, target, store);
    const notices = finishInterrupted(parts).map((name) => leftover(target, name));
    tellNotices(run.context.reporter, [...notices, ...aboutExchange(run.writer, parts.tmpFd, target)]);
    closeParts(parts);
    return store;
  } catch (error) {
    throw targetRefusal(error, target.path);
  }
}

function openParts({ writer }: VerifyRun, target: Root, { fd }: ReadStore): Interrupted {
  return {
    kernel: writer,
    rootFd: target.fd,
    tmpFd: ensureDirectory(writer, fd, "tmp"),
    logFd: ensureDirectory(writer, fd, "log"),
    objectsFd: ensureDirectory(writer, fd, "objects"),
  };
}

function closeParts({ kernel, tmpFd, logFd, objectsFd }: Interrupted): void {
  for (const fd of [tmpFd, logFd, objectsFd]) kernel.sys.close(fd);
}

type Checked = { target: Root; store: ReadStore; ending: Ending; strangers: Strangers };

/** Holds what a check finds until all of it is known; then has it put right, and tells the rest. */
export class Repairing {
  readonly #run: VerifyRun;
  readonly #rules: StoreRules;
  readonly #stat: Stat;
  /** Classes of what was found, by the path of the object. */
  readonly #classes = new Map<string, string[]>();
  readonly #unreadable = new Map<string, Failure>();
  readonly #affected: Affected[] = [];
  /** Names in the snapshots by their inode, "high:low". */
  readonly #names = new Map<string, Buffer[]>();
  readonly #inodes = new Map<Buffer, string>();
  /** Names in the store that an inode was given which lay under another one. */
  readonly #given = new Set<string>();
  /** Inodes whose names are as they should be by now, or were told. */
  readonly #cleared = new Set<string>();

  constructor(run: VerifyRun, rules: StoreRules) {
    this.#run = run;
    this.#rules = rules;
    this.#stat = new Stat(run.kernel.sys);
  }

  note({ path, class: name }: Finding): void {
    const text = path.toString("latin1");
    if (name !== "foreign" && OBJECT.test(text)) this.#add(text, name);
  }

  #add(text: string, name: string): void {
    this.#classes.set(text, [...(this.#classes.get(text) ?? []), name]);
  }

  listener() {
    return {
      affected: (affected: Affected[]): void => {
        for (const each of affected) this.#affected.push(each);
      },
    };
  }

  /** Objects that the disk does not give are damaged. @returns false: it is a failure like others */
  holds(failure: Failure): boolean {
    const text = failure.path.toString("latin1");
    if (!DAMAGED.has(failure.code) || !OBJECT.test(text)) return false;
    this.#unreadable.set(text, failure);
    return true;
  }

  #inodeAt(path: Buffer): string | undefined {
    const { sys, scratch } = this.#run.kernel;
    const { parent, name } = parentAndName(path);
    const dirFd = openBelow(this.#run.kernel, this.#rules.root.fd, parent);
    if (dirFd < 0) return undefined;
    const found = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address);
    sys.close(dirFd);
    return found < 0 ? undefined : `${String(this.#stat.inoHigh)}:${String(this.#stat.inoLow)}`;
  }

  /** @throws bugs */
  async repair({ target, store, ending, strangers }: Checked): Promise<Ending> {
    for (const { path, inode } of this.#affected) {
      const names = this.#names.get(inode) ?? [];
      names.push(path);
      this.#names.set(inode, names);
      this.#inodes.set(path, inode);
    }
    const result = ending.type === "finished" ? await this.#repairAll(target, store, strangers) : ending;
    for (const failure of this.#unreadable.values()) tellFailure(this.#run, failure);
    for (const [inode, paths] of this.#names)
      if (!this.#cleared.has(inode)) for (const path of paths) tellAffected(this.#run, path);
    return result;
  }

  async #repairAll(target: Root, store: ReadStore, strangers: Strangers): Promise<Ending> {
    const parts = openParts(this.#run, target, store);
    const { against } = this.#run.options;
    const source = against === undefined ? undefined : openNamed(this.#run.kernel, against, "source");
    const indexFd = openIndex(this.#run.kernel, store);
    const objects = [...new Set([...this.#classes.keys(), ...this.#unreadable.keys()])].sort();
    const repair = new Repair({
      ...parts,
      compared: this.#rules.compared,
      source,
      strangers: strangers.paths,
      namesOf: (inoHigh, inoLow) => this.#names.get(`${String(inoHigh)}:${String(inoLow)}`) ?? [],
      recorded: this.#recorded(indexFd, objects),
    });
    try {
      return await this.#inBatches(repair, objects, strangers);
    } catch (error) {
      if (!(error instanceof RunFailure) && !isSysError(error)) throw error;
      return { type: "failed", error: new CrewFailure(error.code, error.message) };
    } finally {
      closeParts(parts);
      for (const fd of [source?.fd ?? -1, indexFd]) if (fd >= 0) this.#run.kernel.sys.close(fd);
    }
  }

  #recorded(indexFd: number, objects: readonly string[]): RecordedObjects {
    const inodes = objects.flatMap((text) => {
      const found = this.#inodeAt(Buffer.from(text, "latin1"));
      return found === undefined ? [] : [this.#stat.ino];
    });
    return new RecordedObjects(this.#run.kernel, indexFd, new Set(inodes));
  }

  async #inBatches(repair: Repair, objects: readonly string[], strangers: Strangers): Promise<Ending> {
    const { stop } = this.#run.context;
    for (const { object, path } of strangers.deleted) {
      this.#add(object.toString("latin1"), "deleted");
      this.#tell(object, repair.nameAgain(object, path));
    }
    for (let first = 0; first < objects.length; first += BATCH_OBJECTS) {
      await nextTurn();
      if (stop.aborted) {
        const { signal } = stop.reason as StopReason;
        return { type: "stopped", exitCode: signalExitCodes[signal] };
      }
      const batch = objects.slice(first, first + BATCH_OBJECTS).map((text) => Buffer.from(text, "latin1"));
      repair.run(batch).forEach((outcome, index) => {
        this.#tell(batch[index] as Buffer, outcome);
      });
    }
    check(await this.#run.writer.sys.syncfsAsync(this.#rules.root.fd), "syncfs");
    return { type: "finished" };
  }

  #tell(object: Buffer, outcome: Outcome | undefined): void {
    const { reporter } = this.#run.context;
    const { repaired } = this.#run;
    if (outcome?.type === "unrepaired") {
      this.#run.unrepaired++;
      const { code, message } = outcome;
      reporter.emit({ type: "unrepaired", path: object, code, message });
      for (const path of outcome.names) tellAffected(this.#run, path);
      this.#clear(outcome.names);
      return;
    }
    // Sound when it was examined again, though nothing was put right there: something is wrong, if not with the file.
    if (outcome === undefined && !this.#given.has(object.toString("latin1"))) {
      this.#tellUnsteady(object);
      return;
    }
    repaired.objects++;
    if (outcome?.type === "restored") {
      const { from, names, outside, sizeBytes } = outcome;
      repaired.names += names.length;
      repaired.bytes += sizeBytes;
      reporter.emit({ type: "repaired", path: object, how: "restored", from, names: names.length });
      this.#clear(names);
      // The damaged inode goes on under names that were not found: the finding stays one.
      if (outside > 0) this.#tellOutside(object, outside);
      else this.#resolve(object.toString("latin1"));
      return;
    }
    this.#resolve(object.toString("latin1"));
    const to = outcome?.to ?? object;
    this.#given.add(to.toString("latin1"));
    // Another inode may have got the name that this one had wrongly: it is sound, too.
    for (const path of [to, object]) this.#cleared.add(this.#inodeAt(path) ?? "");
    reporter.emit({ type: "repaired", path: object, how: "renamed", from: to, names: 0 });
  }

  /** Nothing more has to be told of the inode that had these names. */
  #clear([path]: readonly Buffer[]): void {
    const inode = path === undefined ? undefined : this.#inodes.get(path);
    if (inode !== undefined) this.#cleared.add(inode);
  }

  #tellOutside(object: Buffer, outside: number): void {
    const names = outside === 1 ? "1 name" : `${String(outside)} names`;
    const message = `${names} of the damaged inode of ${object.toString()} were not found below ${this.#run.options.target} and still lead to it (${STORE_NAME}/staging, or outside)`;
    this.#run.context.reporter.emit({ type: "notice", level: "warning", code: "OUTSIDE", message });
  }

  #tellUnsteady(object: Buffer): void {
    const message = `${object.toString()} was damaged when it was checked, and sound when it was read again: see to the memory, the cable or the drive`;
    this.#run.context.reporter.emit({ type: "notice", level: "warning", code: "UNSTEADY", message });
  }

  /** What was found there is a finding no more. */
  #resolve(object: string): void {
    const { findings } = this.#run;
    for (const name of this.#classes.get(object) ?? []) {
      const left = (findings[name] ?? 0) - 1;
      if (left > 0) findings[name] = left;
      else Reflect.deleteProperty(findings, name);
    }
    this.#classes.delete(object);
    this.#unreadable.delete(object);
  }
}
