import type { Kernel } from "../sys/files.ts";
import { Scratch } from "../sys/scratch.ts";
import { Stat } from "../sys/stat.ts";
import type { Sys } from "../sys/sys.ts";
import { ContentMover, Ref, StoreSession, type StoreShared } from "../../store/store.ts";
import { XattrCalls } from "../tree/attributes.ts";
import { Generations } from "../tree/identity.ts";
import { Control } from "../work/control.ts";
import { Stopped, entryFailure } from "../work/errors.ts";
import type { Failure } from "../work/messages.ts";
import { Directories } from "./directories.ts";
import { HeapReader } from "./heap.ts";
import type { FromRelinkWorker, RelinkRules, RelinkSetup, StockChoice, StockFiles } from "./messages.ts";
import { SharedTally, zeroTally } from "./tally.ts";

const FAILURES_PER_MESSAGE = 256;

/** What one thread of a relink has: its kernel, its buffers, its way to directories and store. */
export class RelinkThread implements Kernel {
  readonly sys: Sys;
  readonly scratch: Scratch;
  readonly rules: RelinkRules;
  readonly files: StockFiles;
  readonly worker: number;
  readonly rootFd: number;
  readonly control: Control;
  readonly tally = zeroTally();
  readonly content: ContentMover;
  readonly xattrs: XattrCalls;
  readonly generations: Generations;
  readonly heap: HeapReader;
  readonly directories: Directories;
  readonly stat: Stat;
  readonly otherStat: Stat;
  readonly ref: Ref;
  /** Tells of the object `ref`, whose inode `stat` is, that it has this content; undefined: a failure does. */
  damaged: ((digest: Buffer) => void) | undefined;
  readonly #shared: SharedTally;
  readonly #send: (message: FromRelinkWorker<unknown>) => void;
  #choice: StockChoice | undefined;
  #session: StoreSession | undefined;
  #failures: Failure[] = [];

  constructor(sys: Sys, setup: RelinkSetup, send: (message: FromRelinkWorker<unknown>) => void) {
    this.sys = sys;
    this.scratch = new Scratch(sys);
    this.rules = setup.rules;
    this.files = setup.files;
    this.worker = setup.worker;
    this.rootFd = setup.rootFd;
    this.control = new Control(setup.control);
    this.#shared = new SharedTally(setup.tally);
    this.#send = send;
    this.content = new ContentMover(sys, {
      read: (bytes) => {
        this.tally.readBytes += bytes;
        this.checkStop();
        if (this.rules.bwlimitBytes !== undefined) this.control.pace(bytes, this.rules.bwlimitBytes);
      },
      wrote: () => undefined,
    });
    this.xattrs = new XattrCalls(sys, this.scratch);
    this.generations = new Generations(sys);
    this.heap = new HeapReader(sys, setup.files.heapFds);
    const { rootFd, rules, files } = setup;
    const threads = files.sortFds.length;
    const parts = { rootFd, device: rules.device, fd: files.directoriesFd, heap: this.heap, threads };
    this.directories = new Directories(this, parts);
    this.stat = new Stat(sys);
    this.otherStat = new Stat(sys);
    this.ref = new Ref(sys);
  }

  join(store: StoreShared): void {
    this.#session = new StoreSession(this, store, { content: this.content, xattrs: this.xattrs });
  }

  /** For a walk whose stock takes the place of the last one's. */
  choose(choice: StockChoice): void {
    this.#choice = choice;
    this.heap.forget();
    this.directories.close();
  }

  /** Undefined: everything is taken down. */
  get choice(): StockChoice | undefined {
    return this.#choice;
  }

  /** Undefined while there is no store: on a disk without room for one, and in a dry run that finds none. */
  get session(): StoreSession | undefined {
    return this.#session;
  }

  /** @throws Stopped */
  checkStop(): void {
    if (this.control.isStopped) throw new Stopped();
  }

  /** Runs `work`; a failure of this entry is recorded under `path`, a failure of the run passes. */
  attempt(path: () => Buffer, work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      this.tally.failures++;
      this.#failures.push({ path: path(), code, message });
      if (this.#failures.length >= FAILURES_PER_MESSAGE) this.flush();
      return false;
    }
  }

  give(message: FromRelinkWorker<unknown>): void {
    this.#send(message);
  }

  flush(): void {
    this.#shared.flush(this.worker, this.tally);
    if (this.#failures.length > 0) this.#send({ type: "failures", failures: this.#failures });
    this.#failures = [];
  }

  async close(): Promise<void> {
    this.directories.close();
    await this.#session?.close();
  }
}
