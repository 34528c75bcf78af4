import koffi from "koffi";
import { execFileSync } from "node:child_process";
import { mkdtempSync, openSync, readSync, readlinkSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { openSys as openLinux } from "../../../src/sys/linux.ts";
import type { Sys } from "../../../src/sys/sys.ts";
import {
  PLAN_VARIABLE,
  SHARED_VARIABLE,
  type CallFilter,
  type FaultAction,
  type FaultPlan,
  type FaultRule,
  type TracedCall,
} from "./plan.ts";

type Call = (...args: number[]) => number | Promise<number>;

/** These ask the kernel for nothing, or for what cannot fail. */
const uncounted = new Set(["allocate", "addressOf", "umask", "getpid", "kill", "geteuid", "getegid"]);

/** Positions of descriptors (f) and of names (n) among the arguments; a call not listed has its first as descriptor. */
const shapes: Readonly<Record<string, string>> = {
  openat: "fn",
  statx: "fn",
  readlinkat: "fn",
  linkat: "fnfn",
  symlinkat: "nfn",
  mkdirat: "fn",
  mknodat: "fn",
  unlinkat: "fn",
  renameat2: "fnfn",
  fchownat: "fn",
  fchmodat: "fn",
  utimensat: "fn",
  copyFileRange: "ff",
  llistxattr: "n",
  lgetxattr: "n",
  lsetxattr: "n",
  lremovexattr: "n",
  nameToHandleAt: "fn",
};

/** The real kernel, but for what the plan in the environment says. Without a plan it only counts. */
export function openSys(): Sys {
  const real = openLinux();
  const plan = JSON.parse(process.env[PLAN_VARIABLE] ?? "{}") as FaultPlan;
  const faults = new Faults(plan);
  const wrapped: Record<string, unknown> = { ...real };
  for (const [name, call] of Object.entries(real)) {
    if (typeof call !== "function" || uncounted.has(name)) continue;
    wrapped[name] = faults.wrap(name === "syncfsAsync" ? "syncfs" : name, call as Call);
  }
  return wrapped as Sys;
}

/**
 * Numbers that no two threads get twice: consecutive reads of one open file, whose position the kernel moves under
 * a lock, and whose content is 1, 2, 3 …
 */
class Counter {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(4);

  constructor(fd: number) {
    this.#fd = fd;
  }

  next(): number {
    return readSync(this.#fd, this.#bytes, 0, 4, null) === 4 ? this.#bytes.readUInt32LE(0) : 0xffffffff;
  }
}

const COUNTED_MOST = 1_000_000;

/** One descriptor for each counter: the calls, then those that match each rule. The workers inherit their numbers. */
function openShared(count: number): Counter[] {
  if (isMainThread) {
    const folder = mkdtempSync(join(tmpdir(), "dedupe-faults-"));
    const file = join(folder, "numbers");
    writeFileSync(
      file,
      new Uint32Array(COUNTED_MOST).map((_, index) => index + 1),
    );
    const fds = Array.from({ length: count }, () => openSync(file, "r"));
    rmSync(folder, { recursive: true });
    process.env[SHARED_VARIABLE] = JSON.stringify(fds);
  }
  return (JSON.parse(process.env[SHARED_VARIABLE] ?? "[]") as number[]).map((fd) => new Counter(fd));
}

class Faults {
  readonly #plan: FaultPlan;
  readonly #all: Counter;
  readonly #rules: { rule: FaultRule; counter: Counter }[];
  readonly #names = new NameReader();
  readonly #traceFd: number;

  constructor(plan: FaultPlan) {
    const { rules = [] } = plan;
    const [all, ...counters] = openShared(1 + rules.length);
    this.#plan = plan;
    this.#all = all!;
    this.#traceFd = plan.trace === undefined ? -1 : openSync(plan.trace.file, "a");
    this.#rules = rules.map((rule, index) => ({ rule, counter: counters[index]! }));
  }

  wrap(name: string, call: Call): Call {
    const rules = this.#rules.filter(({ rule }) => rule.calls?.includes(name) ?? true);
    const { trace } = this.#plan;
    const isTraced = trace !== undefined && (trace.calls?.includes(name) ?? true);
    if (rules.length === 0 && !isTraced) return call;
    const wantsPaths = isTraced || rules.some(({ rule }) => rule.path !== undefined);
    return (...args) => {
      const paths = wantsPaths ? this.#names.pathsOf(shapes[name] ?? "f", args) : [];
      const due = rules.filter(({ rule, counter }) => matches(rule, paths) && isDue(rule, counter.next()));
      const actions = due.map(({ rule }) => rule.action);
      const begin = isTraced ? this.#all.next() : 0;
      for (const action of actions) act(action, "before");
      const failure = actions.find((action) => action.type === "fail");
      const made = failure === undefined ? call(...args) : -failure.errno;
      const settle = (result: number): number => {
        if (isTraced && matches(trace, paths)) {
          this.#trace({ begin, end: this.#all.next(), call: name, result, paths });
        }
        for (const action of actions) act(action, "after");
        return result;
      };
      if (typeof made === "number") {
        const result = settle(made);
        return isAsync(call) ? Promise.resolve(result) : result;
      }
      return made.then(settle);
    };
  }

  #trace(traced: TracedCall): void {
    writeSync(this.#traceFd, `${JSON.stringify(traced)}\n`);
  }
}

/** Only syncfsAsync answers later; a failed one must as well. */
const isAsync = (call: Call): boolean => call.name === "syncfsAsync";

function matches({ path }: CallFilter, paths: readonly string[]): boolean {
  return path === undefined || paths.some((each) => each.includes(path));
}

function isDue({ at = 1, times = 1 }: FaultRule, number: number): boolean {
  return number >= at && number < at + times;
}

function act(action: FaultAction, when: "before" | "after"): void {
  if (action.type === "fail" || action.when !== when) return;
  if (action.type === "kill") process.kill(process.pid, "SIGKILL");
  else execFileSync("/bin/sh", ["-c", action.command], { stdio: "ignore" });
}

const NAME_MOST = 4096;

/** Reads what the arguments of a call point to. */
class NameReader {
  readonly #bytes = Buffer.allocUnsafeSlow(NAME_MOST + 1).fill(0);
  readonly #address = Number(koffi.address(this.#bytes));
  readonly #strncpy = koffi.load(null).func("strncpy", "uintptr_t", ["uintptr_t", "uintptr_t", "size_t"]);

  pathsOf(shape: string, args: readonly number[]): string[] {
    return Array.from(shape, (kind) => kind).map((kind, index) =>
      kind === "f" ? pathOfDescriptor(args[index]!) : this.#name(args[index]!),
    );
  }

  #name(address: number): string {
    this.#strncpy(this.#address, address, NAME_MOST);
    return this.#bytes.toString("latin1", 0, this.#bytes.indexOf(0));
  }
}

function pathOfDescriptor(fd: number): string {
  if (fd < 0) return "";
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}
