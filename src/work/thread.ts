import { zeroCounters, type Counters } from "../report/events.ts";
import type { Kernel } from "../sys/files.ts";
import { Scratch } from "../sys/scratch.ts";
import { Stat } from "../sys/stat.ts";
import type { Memory, Sys } from "../sys/sys.ts";
import {
  ContentMover,
  Ref,
  StoreSession,
  variantOf,
  type Look,
  type LookedFor,
  type VariantRecord,
} from "../../store/store.ts";
import { AttributeSetter } from "../tree/apply.ts";
import { XattrCalls, type Attributes } from "../tree/attributes.ts";
import { filterFrom, type Filter } from "../tree/filter.ts";
import { Generations, identifyFilesystem, type Filesystem } from "../tree/identity.ts";
import { TimesBuffer } from "../tree/times.ts";
import type { TargetTraits } from "../tree/traits.ts";
import { Control, SharedCounters } from "./control.ts";
import { RunFailure, Stopped, entryFailure, isUnreadable, readable } from "./errors.ts";
import { pathOf, type Frame } from "./frame.ts";
import type { EntryAction, Failure, FromWorker, LateMode, WorkerSetup, WorkRules } from "./messages.ts";
import { SourceProbe } from "./source-probe.ts";

/** Names told of at a time with -v. */
const ENTRIES_PER_MESSAGE = 256;

/** What one worker thread has: its kernel, its buffers, its view of the store, its counters. */
export class Thread implements Kernel {
  readonly sys: Sys;
  readonly scratch: Scratch;
  readonly rules: WorkRules;
  readonly traits: TargetTraits;
  readonly worker: number;
  readonly stagingFd: number;
  readonly control: Control;
  readonly counters: Counters = zeroCounters();
  readonly session: StoreSession;
  readonly content: ContentMover;
  readonly xattrs: XattrCalls;
  readonly setter: AttributeSetter;
  readonly generations: Generations;
  readonly source: SourceProbe;
  readonly filter: Filter | undefined;
  /** The reference in hand, and one for siblings. */
  readonly ref: Ref;
  readonly otherRef: Ref;
  /** The entry's stat by name, then of the open source, then of the target. */
  readonly stat: Stat;
  readonly openStat: Stat;
  readonly targetStat: Stat;
  readonly #shared: SharedCounters;
  readonly #send: (message: FromWorker) => void;
  readonly #memory: Memory;
  readonly #filesystems = new Map<number, Filesystem>();
  #entries: { path: Buffer; action: EntryAction }[] = [];
  #failures: Failure[] = [];
  #lateModes: LateMode[] = [];

  constructor(sys: Sys, setup: WorkerSetup, send: (message: FromWorker) => void) {
    this.sys = sys;
    this.scratch = new Scratch(sys);
    this.rules = setup.rules;
    this.traits = setup.traits;
    this.worker = setup.worker;
    this.stagingFd = setup.store.stagingFd;
    this.control = new Control(setup.control);
    this.#shared = new SharedCounters(setup.counters);
    this.#send = send;
    this.content = new ContentMover(sys, {
      read: (bytes) => {
        this.#countRead(bytes);
      },
      wrote: (bytes) => {
        this.counters.writtenBytes += bytes;
      },
    });
    this.xattrs = new XattrCalls(sys, this.scratch);
    this.session = new StoreSession(this, setup.store, { content: this.content, xattrs: this.xattrs });
    this.setter = new AttributeSetter(sys, this.scratch, this.xattrs, new TimesBuffer(sys));
    this.generations = new Generations(sys);
    this.source = new SourceProbe(sys);
    this.filter = setup.rules.filter === undefined ? undefined : filterFrom(setup.rules.filter);
    this.ref = new Ref(sys);
    this.otherRef = new Ref(sys);
    this.stat = new Stat(sys);
    this.openStat = new Stat(sys);
    this.targetStat = new Stat(sys);
    this.#memory = sys.allocate(512);
  }

  #countRead(bytes: number): void {
    this.counters.readBytes += bytes;
    this.checkStop();
    if (this.rules.bwlimitBytes !== undefined) this.control.pace(bytes, this.rules.bwlimitBytes);
  }

  /** @throws Stopped at a safe point, when the run is to end. */
  checkStop(): void {
    if (this.control.isStopped) throw new Stopped();
  }

  filesystemOf(fd: number, device: number): Filesystem {
    let known = this.#filesystems.get(device);
    if (known === undefined) {
      known = identifyFilesystem(this.sys, fd, device, this.#memory);
      this.#filesystems.set(device, known);
    }
    return known;
  }

  /** The attributes that the run compares, in the store's terms. */
  variantRecord({ mode, uid, gid, mtimeNs, xattrs }: Attributes): VariantRecord {
    const { compared } = this.rules;
    return {
      mode: compared.mode ? mode : undefined,
      owner: compared.owner ? { uid, gid } : undefined,
      mtimeNs: compared.time ? mtimeNs : undefined,
      xattrs: compared.xattrs ? xattrs : undefined,
    };
  }

  /** As the session's. An object that its disk does not give is not what its name says. */
  look(ref: Ref, expected: LookedFor): Look {
    const isDoubted = this.rules.checksum;
    return readable(() => this.session.look(ref, { ...expected, isDoubted })) ?? "bad";
  }

  variantOf(attributes: Attributes): Buffer {
    return variantOf(this.variantRecord(attributes));
  }

  tell(frame: Frame, name: Buffer, action: EntryAction): void {
    if (this.rules.verbose) this.tellPath(frame.unit, pathOf(frame, name), action);
  }

  tellPath(unit: number, path: Buffer, action: EntryAction): void {
    if (!this.rules.verbose) return;
    this.#entries.push({ path, action });
    if (this.#entries.length >= ENTRIES_PER_MESSAGE) this.flush(unit);
  }

  /** @throws RunFailure where the source fails as a whole. */
  fail(frame: Frame, name: Buffer | undefined, failure: { code: string; message: string }): void {
    if (isUnreadable(failure) && this.source.isGone(frame.filesystem.device)) {
      const { code, message } = failure;
      throw new RunFailure(
        code,
        `the source failed: what was read before cannot be read any more: ${message}`,
      );
    }
    this.counters.failures++;
    this.#failures.push({ path: pathOf(frame, name), code: failure.code, message: failure.message });
    if (this.#failures.length >= ENTRIES_PER_MESSAGE) this.flush(frame.unit);
  }

  /** Runs `work`; a failure of this entry is recorded, a failure of the run passes. */
  attempt(frame: Frame, name: Buffer | undefined, work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      this.fail(frame, name, entryFailure(error, "target"));
      return false;
    }
  }

  setModeLater(frame: Frame, mode: number): void {
    this.#lateModes.push({ path: pathOf(frame), mode });
  }

  give(message: FromWorker): void {
    this.#send(message);
  }

  /** Hands counters and reports over; at the end of a task and now and then within. */
  flush(unit: number): void {
    this.#shared.flush(this.worker, this.counters);
    if (this.#entries.length > 0) this.#send({ type: "entries", entries: this.#entries });
    if (this.#failures.length > 0) this.#send({ type: "failures", unit, failures: this.#failures });
    if (this.#lateModes.length > 0) this.#send({ type: "late-modes", unit, modes: this.#lateModes });
    this.#entries = [];
    this.#failures = [];
    this.#lateModes = [];
  }
}
