import { DedupeError } from "../errors.ts";
import type { MigrateOptions } from "../options.ts";
import type { Reporter } from "../report/events.ts";
import { AT_FDCWD } from "../sys/constants.ts";
import { SysError, errnoSentence, isSysError } from "../sys/errors.ts";
import { openRoot, readFile, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { identifyFilesystem, isFull, isLasting, usableSpace, usedSpace } from "../tree/identity.ts";
import { readMounts, type Mount } from "../tree/mounts.ts";
import { pathOfDescriptor, reaches } from "../tree/reach.ts";
import type { TargetTraits } from "../tree/traits.ts";
import { StoreError } from "../../store/store.ts";

/** Both roots, open: the path as typed, a descriptor, st_dev. */
export type Root = { path: string; fd: number; device: number };
export type Notice = { level: "info" | "warning"; code: string; message: string };

export function tellNotices(reporter: Reporter, notices: readonly Notice[]): void {
  for (const notice of notices) reporter.emit({ type: "notice", ...notice });
}

/** Opens what the user named. @throws DedupeError with what to do */
export function openRoots(
  kernel: Kernel,
  sourcePath: string,
  targetPath: string,
): { source: Root; target: Root } {
  const source = openNamed(kernel, sourcePath, "source");
  const target = openNamed(kernel, targetPath, "target");
  const targetInside = reaches(kernel, source.fd, target.fd);
  const sourceInside = reaches(kernel, target.fd, source.fd);
  if (targetInside || sourceInside) {
    const inside = targetInside ? "the target is inside the source" : "the source is inside the target";
    const what = targetInside && sourceInside ? "source and target are the same directory" : inside;
    throw new DedupeError("ROOTS_NESTED", `${what}: ${sourcePath} and ${targetPath}`, {
      hint: "Name two directories of which neither contains the other.",
    });
  }
  return { source, target };
}

export function openNamed(kernel: Kernel, path: string, role: "source" | "target"): Root {
  try {
    const fd = openRoot(kernel, path);
    return { path, fd, device: statDescriptor(kernel, fd, new Stat(kernel.sys)).device };
  } catch (cause) {
    if (!isSysError(cause)) throw cause;
    const reasons: Record<string, [string, string]> = {
      ENOENT: [
        "does not exist",
        role === "source"
          ? "Check the spelling, and that its drive is mounted."
          : "Make it first, and check that its drive is mounted.",
      ],
      ENOTDIR: ["is not a directory", "Name the directory that holds the snapshots."],
      EACCES: ["may not be read by this user", "Run as root, or as the owner."],
    };
    const [what, hint] = reasons[cause.code] ?? [
      `cannot be opened: ${errnoSentence(cause.code)} (${cause.code})`,
      "Check the drive.",
    ];
    const code = role === "source" ? "SOURCE_UNUSABLE" : "TARGET_UNUSABLE";
    throw new DedupeError(code, `the ${role} ${path} ${what}`, { hint, cause });
  }
}

/** Gives a failure while the store was opened or probed the form that the user can act on. */
export function targetRefusal(error: unknown, target: string): Error {
  if (error instanceof StoreError) {
    const exitCode = error.code === "STORE_LOCKED" ? "locked" : "failed";
    return new DedupeError(error.code, `${error.message} (${target})`, {
      hint: error.hint,
      exitCode,
      cause: error,
    });
  }
  if (!(error instanceof SysError)) return error as Error;
  const refusals: Record<string, [string, string]> = {
    EROFS: ["is on a read-only file system", "Mount it writable: mount -o remount,rw."],
    EACCES: ["may not be written to by this user", "Run as root, or make the target's directory yours."],
    EPERM: ["may not be written to by this user", "Run as root, or make the target's directory yours."],
    ENOSPC: [
      "has no space left for the store",
      "Free some space or inodes (see df and df -i), then run again.",
    ],
    EDQUOT: ["is over its quota", "Raise the quota or free some space, then run again."],
  };
  const [what, hint] = refusals[error.code] ?? [
    `cannot be used: ${error.sentence}`,
    "Check the drive and its file system.",
  ];
  return new DedupeError("TARGET_UNUSABLE", `the target ${target} ${what}`, { hint, cause: error });
}

/** What failed where no failure is expected, such as fstatfs of a root: still a sentence, and no bug of ours. */
export function preflightRefusal(error: unknown, roots: string): unknown {
  if (!isSysError(error)) return error;
  return new DedupeError("PREFLIGHT", `${roots} cannot be examined: ${error.sentence}`, {
    hint: "Check the drive and its file system, then run the same command again.",
    cause: error,
  });
}

/**
 * The target's root gets the source's metadata, which its owner alone may give it, and nothing is put into what cannot
 * be closed (P10): better said before anything is read. @throws DedupeError
 */
export function refuseForeignTarget(kernel: Kernel, target: Root): void {
  const { uid } = statDescriptor(kernel, target.fd, new Stat(kernel.sys));
  const euid = kernel.sys.geteuid();
  if (euid === 0 || uid === euid) return;
  throw new DedupeError(
    "TARGET_FOREIGN",
    `the target ${target.path} belongs to user ${String(uid)}, and only its owner may give it the source's mode`,
    { hint: "Make a directory of your own in it and name that, or run as root." },
  );
}

export function noHardLinks(target: string, type: string, cause: unknown): DedupeError {
  return new DedupeError(
    "NO_HARD_LINKS",
    `the target ${target} is on ${type}, which cannot make hard links`,
    {
      hint: "Use a Linux file system for the target: ext4, xfs or btrfs (mkfs erases what is on the drive).",
      cause,
    },
  );
}

export function foldsNames(target: string): DedupeError {
  return new DedupeError(
    "FOLDED_NAMES",
    `the target ${target} takes names for the same that differ in upper and lower case or in how Unicode spells them: one file would replace the other`,
    { hint: "Use a file system that keeps them apart, or a directory that was made without `chattr +F`." },
  );
}

export function noPublishing(target: string, type: string): DedupeError {
  return new DedupeError(
    "NO_RENAME_FLAGS",
    `the target ${target} is on ${type}, which cannot rename without replacing: no snapshot could be published`,
    { hint: "Use ext4, xfs or btrfs for the target, mounted on this machine." },
  );
}

/**
 * A store that is there needs no space for links, for what is deleted, and where nothing has changed: the run finds out.
 * @throws DedupeError when nothing at all can be made on the target
 */
export function checkSpace(kernel: Kernel, target: Root, store: "new" | "there"): Notice[] {
  const memory = kernel.sys.allocate(256);
  const space = usableSpace(kernel.sys, target.fd, memory);
  const hasNone = isFull(kernel.sys, target.fd, memory);
  if (hasNone && store === "new") {
    throw new DedupeError("NO_SPACE", `the target ${target.path} has no free space`, {
      hint: "Free some space on it, then run again: what is finished is not copied again.",
    });
  }
  if (space.hasInodes && space.inodes === 0) {
    throw new DedupeError("NO_INODES", `the target ${target.path} has no free inodes`, {
      hint: "Delete files on it, or make its file system anew with more inodes (mkfs.ext4 -i).",
    });
  }
  if (!hasNone) return [];
  return [warning("NO_SPACE", `the target ${target.path} has no free space: nothing new can be copied`)];
}

/** What may go wrong and is worth a sentence before hours of work. */
export function warnings(kernel: Kernel, source: Root, target: Root, selection: Selection): Notice[] {
  const mounts = readMounts(kernel);
  const mount = mounts.find(({ device }) => device === target.device);
  return [
    ...aboutForgottenMount(kernel, target),
    ...aboutJournal(kernel, mount),
    ...aboutRoom(kernel, source, target, mounts),
    ...aboutIdentity(kernel, source, selection),
  ];
}

type Selection = Pick<MigrateOptions, "merge" | "minSizeBytes" | "maxSizeBytes">;

/** Which of the target's inodes is which of the source's is known by the inode number alone where none are merged. */
function aboutIdentity(
  { sys }: Kernel,
  { fd, device }: Root,
  { merge, minSizeBytes, maxSizeBytes }: Selection,
): Notice[] {
  const keepsApart = merge === "none" || minSizeBytes > 1 || maxSizeBytes < Number.MAX_SAFE_INTEGER;
  if (!keepsApart || isLasting(identifyFilesystem(sys, fd, device, sys.allocate(512)).identity)) return [];
  const options = merge === "none" ? "--merge none" : "--min-size and --max-size";
  const message = `the source's file system gives no lasting inode numbers: what ${options} keeps apart is copied anew by each run`;
  return [warning("NO_IDENTITY", message)];
}

/** Those that need no source. */
export function targetWarnings(kernel: Kernel, target: Root): Notice[] {
  const mount = readMounts(kernel).find(({ device }) => device === target.device);
  return [...aboutForgottenMount(kernel, target), ...aboutJournal(kernel, mount)];
}

const warning = (code: string, message: string): Notice => ({ level: "warning", code, message });

function aboutForgottenMount(kernel: Kernel, target: Root): Notice[] {
  // Where it is, not how it was named: relatively, or through a symlink.
  const path = pathOfDescriptor(kernel, target.fd) ?? target.path;
  const looksMounted = /^\/(mnt|media|run\/media|srv|backup)(\/|$)/.test(path);
  if (!looksMounted) return [];
  const root = openRoot(kernel, "/");
  const { device } = statDescriptor(kernel, root, new Stat(kernel.sys));
  kernel.sys.close(root);
  if (device !== target.device) return [];
  return [
    warning("TARGET_ON_ROOT", `the target ${target.path} is on the root file system: is its drive mounted?`),
  ];
}

/** After a power cut a filesystem without journal or barriers may lose what was synced (P2). */
function aboutJournal(kernel: Kernel, mount: Mount | undefined): Notice[] {
  if (mount === undefined) return [];
  const { type, options } = mount;
  const risky = ["nobarrier", "barrier=0", "data=writeback"].find((option) => options.includes(option));
  if (risky !== undefined) {
    return [
      warning(
        "WEAK_DURABILITY",
        `the target is mounted with ${risky}: a power cut may damage what was copied already`,
      ),
    ];
  }
  if (type === "ext2" || (type.startsWith("ext") && !hasJournal(kernel, mount))) {
    return [
      warning(
        "NO_JOURNAL",
        `the target's ${type} has no journal: a power cut may damage what was copied already`,
      ),
    ];
  }
  return [];
}

/**
 * ext4's own word (Linux 4.20 and later), found by the device's number: its name in the mount table may be another, such
 * as /dev/mapper/vg-lv or /dev/root. Where it cannot be had, nothing is said.
 */
function hasJournal(kernel: Kernel, { device }: Mount): boolean {
  const { sys, scratch } = kernel;
  const memory = sys.allocate(4096);
  const link = `/sys/dev/block/${String(device >>> 20)}:${String(device & 0xfffff)}`;
  const length = sys.readlinkat(AT_FDCWD, scratch.text(link), memory.address, memory.bytes.length);
  const name = memory.bytes.toString("latin1", 0, Math.max(0, length)).split("/").at(-1) ?? "";
  return readFile(kernel, AT_FDCWD, `/sys/fs/ext4/${name}/journal_task`)?.toString().trim() !== "<none>";
}

/** Old ext4 inodes of 128 bytes, and ext3's, keep whole seconds. Times out of the range are counted instead (`lostTimes`). */
export function aboutTimes({ granularityNs }: Pick<TargetTraits, "granularityNs">): Notice[] {
  if (granularityNs === 1n) return [];
  const step = granularityNs === 1_000_000_000n ? "whole seconds" : `steps of ${String(granularityNs)} ns`;
  const message = `the target keeps modification times in ${step} only: they are rounded down`;
  return [{ level: "info", code: "COARSE_TIMES", message }];
}

/** A root that is a whole filesystem tells how much is in it at most; merging may still make it fit. */
function aboutRoom(kernel: Kernel, source: Root, target: Root, mounts: Mount[]): Notice[] {
  // Where it is, not how it was named.
  const path = pathOfDescriptor(kernel, source.fd) ?? source.path.replace(/(.)\/+$/, "$1");
  const isWhole = mounts.some(({ device, point }) => device === source.device && point === path);
  if (!isWhole) return [];
  const memory = kernel.sys.allocate(256);
  const { bytes } = usableSpace(kernel.sys, target.fd, memory);
  const { bytes: used } = usedSpace(kernel.sys, source.fd, memory);
  if (used <= bytes) return [];
  return [
    warning(
      "MAY_NOT_FIT",
      `the source's file system holds ${sizeText(used)}, the target has ${sizeText(bytes)} free: what is there may not fit`,
    ),
  ];
}

/** Decimal, as all sizes that are printed. */
export function sizeText(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${String(Math.ceil(bytes / 1000))} kB`;
}
