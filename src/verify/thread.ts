import { SysError, errno, errnoSentence } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { readOnlySys } from "../sys/read-only.ts";
import { Scratch } from "../sys/scratch.ts";
import type { Sys } from "../sys/sys.ts";
import { ContentReader } from "./content-reader.ts";
import { Control, SharedTallies, zeroTally, type Tally } from "./control.ts";
import { Changed, InodeReader } from "./inode-reader.ts";
import { Ledger } from "./ledger.ts";
import { DirectoryReader } from "./listing.ts";
import type { Affected, Failure, Finding, FromWorker, Looked, WorkerSetup } from "./messages.ts";

const PER_MESSAGE = 256;

/** The run was asked to stop. */
export class Stopped extends Error {}

/** One of the trees fails as a whole: going on would fail for every name. */
export class TreeFailure extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const gone: readonly number[] = [errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN];

/** What one worker thread has: a kernel that cannot write, its readers, its part of the shared memory. */
export class Thread implements Kernel {
  readonly sys: Sys;
  readonly scratch: Scratch;
  readonly setup: WorkerSetup;
  readonly control: Control;
  readonly tally: Tally = zeroTally();
  readonly directories: DirectoryReader;
  readonly content: ContentReader;
  readonly inodes: InodeReader;
  readonly #ledger: Ledger | undefined;
  readonly #shared: SharedTallies;
  readonly #send: (message: FromWorker) => void;
  #findings: Finding[] = [];
  #failures: Failure[] = [];
  #looked: Looked[] = [];
  #affected: Affected[] = [];

  constructor(sys: Sys, setup: WorkerSetup, send: (message: FromWorker) => void) {
    this.sys = readOnlySys(sys);
    this.scratch = new Scratch(sys);
    this.setup = setup;
    this.control = new Control(setup.control);
    this.directories = new DirectoryReader(this.sys);
    this.content = new ContentReader(this.sys, (bytes) => {
      this.#countRead(bytes);
    });
    this.inodes = new InodeReader(this, this.content);
    // The ledger alone may write: to files of its own, which have no names.
    const writer = { sys, scratch: this.scratch };
    if (setup.ledger !== undefined) this.#ledger = new Ledger(writer, setup.ledger, setup.temporaryDirectory);
    this.#shared = new SharedTallies(setup.tallies);
    this.#send = send;
  }

  get ledger(): Ledger {
    if (this.#ledger === undefined) throw new Error("this run has no ledger");
    return this.#ledger;
  }

  #countRead(bytes: number): void {
    this.tally.readBytes += bytes;
    this.checkStop();
    const { bwlimitBytes } = this.setup;
    if (bwlimitBytes !== undefined) this.control.pace(bytes, bwlimitBytes);
  }

  /** @throws Stopped */
  checkStop(): void {
    if (this.control.isStopped) throw new Stopped();
  }

  report(finding: Finding): void {
    this.#findings.push(finding);
    if (this.#findings.length >= PER_MESSAGE) this.flush();
  }

  looked(path: () => Buffer, action: Looked["action"]): void {
    if (!this.setup.verbose) return;
    this.#looked.push({ path: path(), action });
    if (this.#looked.length >= PER_MESSAGE) this.flush();
  }

  affected(affected: Affected): void {
    this.#affected.push(affected);
    if (this.#affected.length >= PER_MESSAGE) this.flush();
  }

  /** Lists what could not be read; `inode`: of an object. @throws what is no failure of one entry */
  fail(path: Buffer, side: string, error: unknown, inode?: string): void {
    const place = { path, ...(inode === undefined ? {} : { inode }) };
    if (error instanceof Changed) {
      this.#failures.push({ ...place, code: "CHANGED", message: `${error.message} (${side})` });
    } else if (error instanceof SysError) {
      const sentence = errnoSentence(error.code);
      if (gone.includes(error.errno))
        throw new TreeFailure(error.code, `the ${side} failed: ${error.call}: ${sentence} (${error.code})`);
      this.#failures.push({ ...place, code: error.code, message: `${sentence} (${error.call}, ${side})` });
    } else throw error;
    if (this.#failures.length >= PER_MESSAGE) this.flush();
  }

  /** Hands counters and reports over; at the end of a task and now and then within. */
  flush(): void {
    this.#shared.flush(this.setup.worker, this.tally);
    if (this.#findings.length > 0) this.#send({ type: "findings", findings: this.#findings });
    if (this.#failures.length > 0) this.#send({ type: "failures", failures: this.#failures });
    if (this.#looked.length > 0) this.#send({ type: "looked", looked: this.#looked });
    if (this.#affected.length > 0) this.#send({ type: "affected", affected: this.#affected });
    this.#findings = [];
    this.#failures = [];
    this.#looked = [];
    this.#affected = [];
  }
}
