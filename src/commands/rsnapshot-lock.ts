import { DedupeError } from "../errors.ts";
import { exitCodes } from "../exit-codes.ts";
import type { RsnapshotOptions, WithTarget } from "../options.ts";
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
} from "../sys/constants.ts";
import { SysError, errno, errnoName, isSysError } from "../sys/errors.ts";
import { openRoot, readAt, statDescriptor, writeAll, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { reaches } from "../tree/reach.ts";
import type { CommandContext } from "./context.ts";
import { openKernel } from "./migrate-run.ts";
import { readRsnapshotConf, type RsnapshotConf } from "./rsnapshot-conf.ts";

/** What of a lock file may be its process's number. */
const PID_BYTES = 4096;
const PID_MOST = 2 ** 31 - 1;

/**
 * Does a command's work; with --rsnapshot-conf on the root that it names, unless a target is given, and under
 * rsnapshot's lock, which is released whatever comes but SIGKILL. @throws DedupeError
 */
export async function withRsnapshotLock<Options extends RsnapshotOptions & { against?: string | undefined }>(
  options: Options,
  context: CommandContext,
  work: (options: WithTarget<Options>) => Promise<number>,
): Promise<number> {
  const { target, rsnapshotConf } = options;
  if (rsnapshotConf === undefined) return work({ ...options, target: target ?? "" });
  const { kernel } = await openKernel(context.sysModule);
  const conf = readRsnapshotConf(kernel, rsnapshotConf);
  const root = rootOf(conf, rsnapshotConf);
  checkTargets(kernel, root, options);
  const lock = takeLock(kernel, conf, context);
  let code: number;
  try {
    code = await work({ ...options, target: target ?? root });
  } finally {
    lock.release();
  }
  return lock.isLeft && code === exitCodes.ok.code ? exitCodes.failed.code : code;
}

function rootOf({ snapshotRoot }: RsnapshotConf, file: string): string {
  const root = snapshotRoot?.toString();
  if (root !== undefined && snapshotRoot?.equals(Buffer.from(root)) === true) return root;
  const what = root === undefined ? "names no snapshot_root" : "has a snapshot_root that is no valid UTF-8";
  throw new DedupeError("RSNAPSHOT_CONF", `rsnapshot's configuration ${file} ${what}`, {
    hint: "Name the file that rsnapshot uses.",
    exitCode: "usage",
  });
}

type Roots = { target: string | undefined; against?: string | undefined; rsnapshotConf: string | undefined };

/** The lock of an rsnapshot that works elsewhere would guard nothing. */
function checkTargets(kernel: Kernel, root: string, { target, against, rsnapshotConf }: Roots): void {
  const typed = [target, against].filter((path) => path !== undefined);
  if (target === undefined || typed.some((path) => isSameTree(kernel, root, path))) return;
  throw new DedupeError(
    "RSNAPSHOT_CONF",
    `the rsnapshot of ${rsnapshotConf ?? ""} works on ${root}, not on ${target}`,
    { hint: "Name the configuration whose snapshot_root this is.", exitCode: "usage" },
  );
}

/** One contains the other. What cannot be opened is refused later, by name. */
function isSameTree(kernel: Kernel, root: string, path: string): boolean {
  const fds: number[] = [];
  try {
    for (const each of [root, path]) fds.push(openRoot(kernel, each));
    const [a = -1, b = -1] = fds;
    return reaches(kernel, a, b) || reaches(kernel, b, a);
  } catch (error) {
    if (!isSysError(error)) throw error;
    return true;
  } finally {
    for (const fd of fds) kernel.sys.close(fd);
  }
}

/** `isLeft`: it could not be removed, which was said, is never exit 0, and hides no other code. */
type Lock = { release: () => void; isLeft: boolean };

/** As rsnapshot's add_lockfile. */
function takeLock(kernel: Kernel, conf: RsnapshotConf, context: CommandContext): Lock {
  const { lockfile } = conf;
  const warn = (code: string, message: string): void => {
    context.reporter.emit({ type: "notice", level: "warning", code, message });
  };
  if (lockfile === undefined) {
    warn(
      "NO_LOCKFILE",
      "rsnapshot's configuration names no lockfile: nothing keeps rsnapshot from working meanwhile",
    );
    return { release: () => undefined, isLeft: false };
  }
  const stale = lookAtLock(kernel, lockfile);
  if (stale !== undefined) removeStale(kernel, lockfile, { conf, stale, warn });
  const made = makeLock(kernel, lockfile);
  let isHeld = true;
  const lock: Lock = { release: () => undefined, isLeft: false };
  lock.release = context.atExit(() => {
    if (!isHeld) return;
    isHeld = false;
    const removed = removeOwn(kernel, lockfile, made);
    lock.isLeft = removed < 0;
    if (!lock.isLeft) return;
    const what = `cannot be removed (${errnoName(-removed)}): remove it by hand`;
    warn("LOCK_LEFT", `rsnapshot's lock ${lockfile.toString()} ${what}`);
  });
  return lock;
}

type Identity = { device: number; ino: bigint };

/** The lock file of a process that is gone; undefined where there is none. @throws DedupeError when it is held */
function lookAtLock(kernel: Kernel, lockfile: Buffer): Identity | undefined {
  const { sys, scratch } = kernel;
  const fd = sys.openat(AT_FDCWD, scratch.at(lockfile), O_RDONLY | O_CLOEXEC, 0);
  if (fd === -errno.ENOENT) return undefined;
  if (fd < 0) throw unusable(lockfile, `cannot be read (${errnoName(-fd)})`);
  try {
    const { device, ino } = statDescriptor(kernel, fd, new Stat(sys));
    const text = readAt(kernel, fd, 0, PID_BYTES).toString("latin1").split("\n")[0] ?? "";
    if (isAlive(kernel, text)) throw held(lockfile, `process ${text}`);
    return { device, ino };
  } finally {
    sys.close(fd);
  }
}

/** A process of another user is there, too, though rsnapshot's kill(0) would not see it. */
function isAlive({ sys }: Kernel, text: string): boolean {
  const pid = /^[0-9]+$/.test(text) ? Number(text) : 0;
  // A lock with our own number was left by one that had it before.
  if (pid === 0 || pid > PID_MOST || pid === sys.getpid()) return false;
  const asked = sys.kill(pid, 0);
  return asked === 0 || asked === -errno.EPERM;
}

type Stale = { conf: RsnapshotConf; stale: Identity; warn: (code: string, message: string) => void };

function removeStale(kernel: Kernel, lockfile: Buffer, { conf, stale, warn }: Stale): void {
  if (conf.stopsOnStaleLock)
    throw new DedupeError(
      "RSNAPSHOT_STALE",
      `rsnapshot's lock ${lockfile.toString()} was left by a killed run`,
      {
        hint: "Its configuration has stop_on_stale_lockfile: see to it and remove the lock by hand.",
        exitCode: "locked",
      },
    );
  // Someone else may have found it stale, too, and taken the lock by now.
  if (!isStill(kernel, lockfile, stale)) throw held(lockfile, "another process");
  warn("STALE_LOCK", `removing rsnapshot's lock ${lockfile.toString()}, which a killed run has left`);
  const removed = kernel.sys.unlinkat(AT_FDCWD, kernel.scratch.at(lockfile), 0);
  if (removed < 0 && removed !== -errno.ENOENT)
    throw unusable(lockfile, `cannot be removed (${errnoName(-removed)})`);
}

function isStill({ sys, scratch }: Kernel, lockfile: Buffer, { device, ino }: Identity): boolean {
  const stat = new Stat(sys);
  if (sys.statx(AT_FDCWD, scratch.at(lockfile), AT_SYMLINK_NOFOLLOW, stat.address) < 0) return false;
  return stat.device === device && stat.ino === ino;
}

function makeLock(kernel: Kernel, lockfile: Buffer): Identity {
  const { sys, scratch } = kernel;
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  const fd = sys.openat(AT_FDCWD, scratch.at(lockfile), flags, 0o644);
  if (fd === -errno.EEXIST) throw held(lockfile, "another process");
  if (fd < 0) throw unusable(lockfile, `cannot be made (${errnoName(-fd)})`);
  try {
    writeAll(sys, fd, Buffer.from(String(sys.getpid())));
    const { device, ino } = statDescriptor(kernel, fd, new Stat(sys));
    return { device, ino };
  } catch (error) {
    sys.unlinkat(AT_FDCWD, scratch.at(lockfile), 0);
    throw error instanceof SysError ? unusable(lockfile, `cannot be written (${error.code})`) : error;
  } finally {
    sys.close(fd);
  }
}

/** Not the lock of someone who took ours for a stale one. @returns 0 where it is gone, or -errno */
function removeOwn(kernel: Kernel, lockfile: Buffer, made: Identity): number {
  if (!isStill(kernel, lockfile, made)) return 0;
  const removed = kernel.sys.unlinkat(AT_FDCWD, kernel.scratch.at(lockfile), 0);
  return removed === -errno.ENOENT ? 0 : removed;
}

function held(lockfile: Buffer, who: string): DedupeError {
  return new DedupeError(
    "RSNAPSHOT_LOCKED",
    `rsnapshot is at work: ${who} holds its lock ${lockfile.toString()}`,
    {
      hint: "Wait until it has ended. Within cmd_postexec, which runs under that lock, leave --rsnapshot-conf out.",
      exitCode: "locked",
    },
  );
}

function unusable(lockfile: Buffer, what: string): DedupeError {
  return new DedupeError("RSNAPSHOT_LOCK", `rsnapshot's lock ${lockfile.toString()} ${what}`, {
    hint: "Run as the user that rsnapshot runs as, and see that the lock's directory is there.",
  });
}
