/** What keeps --delete from emptying a target because a drive was not mounted. docs/design.md, "Deleting". */
import type { MigrateOptions } from "../options.ts";
import { DedupeError } from "../errors.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import {
  openDirectory,
  openQuietly,
  readFile,
  statDescriptor,
  writeFileDurably,
  type Kernel,
} from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { identifyFilesystem, isLasting } from "../tree/identity.ts";
import { Listing } from "../tree/listing.ts";
import { readMounts, type Mount } from "../tree/mounts.ts";
import { pathOfDescriptor } from "../tree/reach.ts";
import { RunFailure } from "../work/errors.ts";
import { STORE_NAME } from "../../store/store.ts";
import type { Root } from "./preflight.ts";

const FILE = "source.json";
const VERSION = 2;

/**
 * A filesystem below the source's root: where it is mounted (Latin-1, relative, "" for the root), its identity in hex
 * ("" where it has none that lasts, or did not answer), and what the list of mounts calls it.
 */
type SourceFilesystem = { path: string; identity: string; mount: string };
type SourceRecord = { version: number; filesystems: SourceFilesystem[] };
type Deleting = Pick<MigrateOptions, "delete" | "forceDelete" | "oneFileSystem">;

/** Before anything is made on the target. @throws DedupeError */
export function refuseEmptySource(kernel: Kernel, source: Root, options: Deleting): void {
  if (!options.delete || options.forceDelete || !isEmptyRoot(kernel, source.fd)) return;
  throw new DedupeError(
    "SOURCE_EMPTY",
    `the source ${source.path} is empty, and --delete would remove everything from the target`,
    { hint: "Check that its drive is mounted; if it is meant to be empty, add --force-delete." },
  );
}

function isEmptyRoot(kernel: Kernel, fd: number): boolean {
  return namesIn(kernel, fd).every((name) => {
    if (name === STORE_NAME) return true;
    if (name !== "lost+found") return false;
    const inner = openDirectory(kernel, fd, name);
    const isEmpty = namesIn(kernel, inner).length === 0;
    kernel.sys.close(inner);
    return isEmpty;
  });
}

function namesIn({ sys, scratch }: Kernel, dirFd: number): string[] {
  const flags = sys.O_DIRECTORY | O_CLOEXEC;
  const fd = check(openQuietly(sys, dirFd, scratch.text("."), flags), "openat");
  const listing = new Listing(sys);
  const names: string[] = [];
  while (check(listing.read(fd), "getdents64") > 0) {
    while (listing.next()) names.push(listing.copyName().toString("latin1"));
  }
  sys.close(fd);
  return names;
}

/** Compares with what the last run met: what is missing now is not mounted rather than deleted. @throws DedupeError */
export function refuseLostFilesystem(
  kernel: Kernel,
  roots: { source: Root; logFd: number },
  options: Deleting,
): void {
  if (!options.delete || options.forceDelete) return;
  const present = filesystemsOf(kernel, roots.source, options);
  const known = readRecord(kernel, roots.logFd).filter(({ path }) => path === "" || !options.oneFileSystem);
  const [lost] = lostOf(present, known);
  if (lost === undefined) return;
  throw lost.path === ""
    ? new DedupeError(
        "SOURCE_LOST_FILESYSTEM",
        `the source ${roots.source.path} is on another filesystem than that of the last run, and --delete would remove what is not on this one`,
        {
          hint: "Check that the right drive is mounted there; if this is what you want, add --force-delete once.",
        },
      )
    : new DedupeError(
        "SOURCE_LOST_FILESYSTEM",
        `the source ${roots.source.path} has lost the filesystem at ${textOf(lost)} since the last run, and --delete would remove what was on it`,
        { hint: "Mount it again; if it is gone for good, add --force-delete once." },
      );
}

function textOf({ path }: SourceFilesystem): string {
  return Buffer.from(path, "latin1").toString();
}

/**
 * What is mounted below the source now must be there whenever the function that it returns is called: a drive that was
 * pulled meanwhile leaves an empty directory, which looks like one whose names were deleted. @throws RunFailure
 */
export function watchFilesystems(
  kernel: Kernel,
  source: Root,
  options: Pick<MigrateOptions, "oneFileSystem">,
): () => void {
  const root = pathOfDescriptor(kernel, source.fd);
  const begun = filesystemsOf(kernel, source, options).filter(({ path }) => path !== "");
  if (root === undefined || begun.length === 0) return () => undefined;
  return () => {
    // To look there mounts again what an automounter took away.
    for (const { path } of begun) hasPath(kernel, { point: `${root}/${path}/.` });
    const present = filesystemsOf(kernel, source, options);
    const [lost] = lostOf(present, begun);
    if (lost === undefined) return;
    throw new RunFailure(
      "SOURCE_LOST_FILESYSTEM",
      `the source ${source.path} has lost the filesystem at ${textOf(lost)} during the run`,
    );
  };
}

/**
 * At the end of a run that got through, once all is durable. A run without --delete keeps what an earlier one met:
 * it saw a filesystem missing and removed nothing, and the next must still notice. @throws SysError
 */
export function recordSource(
  kernel: Kernel,
  roots: { source: Root; logFd: number },
  options: Deleting,
): void {
  const present = filesystemsOf(kernel, roots.source, options);
  const known = readRecord(kernel, roots.logFd);
  const kept = unseenOf(present, known, options);
  const record: SourceRecord = { version: VERSION, filesystems: [...present, ...kept] };
  if (sameList(known, record.filesystems)) return;
  writeFileDurably(kernel, roots.logFd, FILE, Buffer.from(`${JSON.stringify(record, null, 2)}\n`));
}

/** What was known and not looked at (below, with --one-file-system), or not met by a run that deletes nothing. */
function unseenOf(
  present: readonly SourceFilesystem[],
  known: readonly SourceFilesystem[],
  { delete: deletes, oneFileSystem }: Deleting,
): SourceFilesystem[] {
  const unseen = known.filter(({ path }) => oneFileSystem && path !== "");
  const seen = known.filter((each) => !unseen.includes(each));
  return [...(deletes ? [] : lostOf(present, seen)), ...unseen];
}

function sameList(a: readonly SourceFilesystem[], b: readonly SourceFilesystem[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Which of the `known` are not present: one filesystem mounted in two places counts twice. */
function lostOf(
  present: readonly SourceFilesystem[],
  known: readonly SourceFilesystem[],
): SourceFilesystem[] {
  const unclaimed = [...present];
  const claim = (isIt: (each: SourceFilesystem) => boolean): boolean => {
    const at = unclaimed.findIndex(isIt);
    if (at >= 0) unclaimed.splice(at, 1);
    return at >= 0;
  };
  const moved = known.filter((one) => !claim((each) => each.path === one.path && isSame(each, one)));
  return moved.filter((one) => !claim((each) => isSame(each, one)));
}

/**
 * By identity alone where both have one: a drive may be mounted elsewhere below the source. By place and name else,
 * which is good for telling it from the empty directory under its mount point.
 */
function isSame(a: SourceFilesystem, b: SourceFilesystem): boolean {
  if (a.identity !== "" && b.identity !== "") return a.identity === b.identity;
  return a.path === b.path && a.mount === b.mount;
}

/** A damaged record guards nothing; the next good run writes it anew. */
function readRecord(kernel: Kernel, logFd: number): SourceFilesystem[] {
  const content = readFile(kernel, logFd, FILE);
  if (content === undefined) return [];
  try {
    const record = JSON.parse(content.toString()) as Partial<SourceRecord> | null;
    const list = record?.version === VERSION ? record.filesystems : undefined;
    return Array.isArray(list) ? list.filter(isSourceFilesystem) : [];
  } catch {
    return [];
  }
}

function isSourceFilesystem(value: unknown): value is SourceFilesystem {
  const { path, identity, mount } = (value ?? {}) as Partial<SourceFilesystem>;
  return [path, identity, mount].every((each) => typeof each === "string");
}

/**
 * The source's own filesystem and those mounted below it. Not btrfs subvolumes within: deleting old snapshots is
 * what they are made for.
 */
function filesystemsOf(
  kernel: Kernel,
  source: Root,
  { oneFileSystem }: Pick<MigrateOptions, "oneFileSystem">,
): SourceFilesystem[] {
  const own = { path: "", ...identify(kernel, source.fd, undefined) };
  const root = pathOfDescriptor(kernel, source.fd);
  if (oneFileSystem || root === undefined) return [own];
  const prefix = root === "/" ? "/" : `${root}/`;
  // Of mounts on one point only the last is seen: an automounter has one more below while it is at work.
  const mounts = new Map(
    readMounts(kernel)
      .map((mount) => [mount.point, mount] as const)
      .reverse(),
  );
  const below = [...mounts.values()].filter(({ point }) => point.startsWith(prefix) && point !== "/");
  const found = below.flatMap((mount) => mountedAt(kernel, mount, mount.point.slice(prefix.length)));
  return [own, ...found.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))];
}

function mountedAt(kernel: Kernel, mount: Mount, path: string): SourceFilesystem[] {
  const { sys, scratch } = kernel;
  const name = scratch.at(Buffer.from(mount.point, "latin1"));
  const fd = sys.openat(AT_FDCWD, name, sys.O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return hasPath(kernel, mount) ? [{ path, identity: "", mount: nameOf(mount) }] : [];
  const found = identify(kernel, fd, mount);
  sys.close(fd);
  return [{ path, ...found }];
}

/** A file that is mounted over another, or what this user may not enter. */
function hasPath({ sys, scratch }: Kernel, { point }: Pick<Mount, "point">): boolean {
  const fd = sys.openat(AT_FDCWD, scratch.at(Buffer.from(point, "latin1")), O_PATH | O_CLOEXEC, 0);
  if (fd >= 0) sys.close(fd);
  return fd >= 0;
}

function identify(
  kernel: Kernel,
  fd: number,
  known: Mount | undefined,
): Pick<SourceFilesystem, "identity" | "mount"> {
  const { device } = statDescriptor(kernel, fd, new Stat(kernel.sys));
  const { identity } = identifyFilesystem(kernel.sys, fd, device, kernel.sys.allocate(512));
  const mount = known ?? readMounts(kernel).find((each) => each.device === device);
  return {
    identity: isLasting(identity) ? identity.toString("hex") : "",
    mount: mount === undefined ? "" : nameOf(mount),
  };
}

function nameOf({ type, source }: Mount): string {
  return `${type}:${source}`;
}
