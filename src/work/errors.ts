import { EUCLEAN, SysError, errno, errnoName, errnoSentence } from "../sys/errors.ts";

/** The target or the source fails as a whole: the run ends, resumable (P8). */
export class RunFailure extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = "RunFailure";
    this.code = code;
  }
}

/** What ended a thread comes without its class; of a call that failed outside of its tasks that is given back. */
export function thrownByThread(error: Error): Error {
  if (error.name !== "SysError") return error;
  const { call, errno: number, path } = error as Error & { call: string; errno: number; path: Uint8Array };
  return new SysError(call, number, Buffer.from(path));
}

/** The run was asked to stop. */
export class Stopped extends Error {}

/** One entry cannot be handled; the rest of the run goes on. */
export class EntryFailure extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = "EntryFailure";
    this.code = code;
  }
}

const gone = new Set([errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN]);
const targetBroken = new Set([
  ...gone,
  errno.EROFS,
  errno.ENOSPC,
  errno.EDQUOT,
  EUCLEAN,
  errno.EIO,
  errno.EMFILE,
  errno.ENFILE,
]);
/** errnos by which what is read fails as a whole. */
export const sourceBroken: ReadonlySet<number> = new Set([...gone, errno.EMFILE, errno.ENFILE]);

const unreadable = new Set(["EIO", "EBADMSG", "EUCLEAN"]);

/** Whether an entry's failure says that the disk did not give it: a bad place, or the end of the disk. */
export function isUnreadable({ code }: { code: string }): boolean {
  return unreadable.has(code);
}

/** Does what reads the target's content; undefined where its disk does not give it: then it is made anew from the source. */
export function readable<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof SysError && error.call === "read" && isUnreadable(error)) return undefined;
    throw error;
  }
}

/** Judges a failed call on the target: throws RunFailure where going on would fail for every entry, EntryFailure otherwise. */
export function targetFailed(call: string, result: number, path?: Buffer | string): never {
  const code = errnoName(-result);
  if (targetBroken.has(-result))
    throw new RunFailure(code, `the target failed: ${new SysError(call, -result, path).sentence}`);
  throw new EntryFailure(code, `${errnoSentence(code)} (${call} on the target)`);
}

/** Judges a failed call on the source. */
export function sourceFailed(call: string, result: number): never {
  const code = errnoName(-result);
  if (sourceBroken.has(-result))
    throw new RunFailure(code, `the source failed: ${call}: ${errnoSentence(code)} (${code})`);
  throw new EntryFailure(code, errnoSentence(code));
}

export function onTarget(result: number, call: string, path?: Buffer | string): number {
  if (result < 0) targetFailed(call, result, path);
  return result;
}

export function onSource(result: number, call: string): number {
  if (result < 0) sourceFailed(call, result);
  return result;
}

/**
 * Does what reads the source: an errno that would condemn the whole target is there one entry's alone. Work that
 * writes to the target besides names the call that reads.
 */
export function fromSource<T>(work: () => T, call?: string): T {
  try {
    return work();
  } catch (error) {
    const isSources = error instanceof SysError && (call === undefined || error.call === call);
    throw isSources ? entryFailure(error, "source") : error;
  }
}

/** Passes failures of the run through and gives everything else the form of an entry's failure. */
export function entryFailure(error: unknown, side: "source" | "target"): EntryFailure {
  if (error instanceof EntryFailure) return error;
  if (!(error instanceof SysError)) throw error;
  try {
    if (side === "source") sourceFailed(error.call, -error.errno);
    targetFailed(error.call, -error.errno, error.path);
  } catch (judged) {
    if (judged instanceof EntryFailure) return judged;
    throw judged;
  }
}
