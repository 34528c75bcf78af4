import { DedupeError } from "../errors.ts";
import { LOCK_NB, LOCK_SH, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { check, errno, isSysError } from "../sys/errors.ts";
import { openDirectory, readAt, readFile, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { STORE_NAME, looksSound } from "../../store/store.ts";
import type { Root } from "./preflight.ts";

/** format.json: what the store's names were made by. */
export type StoreFormat = {
  compared: { mode: boolean; owner: boolean; time: boolean; xattrs: boolean };
  merge: "all" | "none";
  granularityNs: bigint;
};

/** A target's store, open for reading; locked, where there is a lock, against runs that write. */
export type ReadStore = {
  fd: number;
  format: StoreFormat;
  isPrivate: boolean;
  index: "sound" | "missing" | "damaged" | "unreadable";
  close(): void;
};

const FORMAT_VERSION = 1;
const DIGEST = "blake3-256";
const attributes = ["mode", "owner", "time", "xattrs"] as const;

/** undefined: the target has no store. @throws DedupeError when it is locked, or of a format that is not known */
export function openReadStore(
  kernel: Kernel,
  target: Root,
  lock: (storeFd: number) => number = (storeFd) => shareLock(kernel, storeFd, target),
): ReadStore | undefined {
  const fd = openStore(kernel, target);
  if (fd === undefined) return undefined;
  const { sys } = kernel;
  const lockFd = lock(fd);
  const close = (): void => {
    for (const each of [lockFd, fd]) if (each >= 0) sys.close(each);
  };
  try {
    const { mode } = statDescriptor(kernel, fd, new Stat(sys));
    const format = readFormat(kernel, fd, target);
    return { fd, format, isPrivate: (mode & 0o077) === 0, index: lookAtIndex(kernel, fd), close };
  } catch (error) {
    close();
    throw error;
  }
}

function openStore(kernel: Kernel, { fd, path }: Root): number | undefined {
  try {
    return openDirectory(kernel, fd, STORE_NAME);
  } catch (cause) {
    if (isSysError(cause, "ENOENT")) return undefined;
    if (!isSysError(cause)) throw cause;
    const what =
      cause.code === "EACCES" ? "may not be read by this user" : `cannot be opened: ${cause.message}`;
    const hint = "Run as its owner, or as root.";
    throw new DedupeError("STORE_UNUSABLE", `the store ${STORE_NAME} of ${path} ${what}`, { hint, cause });
  }
}

/** A lock changes nothing on disk. Several checks may read at once; a run that writes excludes them, and they it. */
function shareLock({ sys, scratch }: Kernel, storeFd: number, { path }: Root): number {
  const fd = sys.openat(storeFd, scratch.text("lock"), O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW, 0);
  if (fd < 0 || sys.flock(fd, LOCK_SH | LOCK_NB) !== -errno.EAGAIN) return fd;
  for (const each of [fd, storeFd]) sys.close(each);
  throw new DedupeError("STORE_LOCKED", `another run of dedupe is using this target (${path})`, {
    hint: "Wait until it has ended; if it was killed, the kernel has freed the lock already.",
    exitCode: "locked",
  });
}

function readFormat(kernel: Kernel, storeFd: number, { path }: Root): StoreFormat {
  const found = parse(readFile(kernel, storeFd, "format.json"));
  const {
    version,
    digest = DIGEST,
    compared = [...attributes],
    merge = "all",
    granularityNs = 1,
  } = found ?? {};
  if (
    found !== undefined &&
    typeof version === "number" &&
    (version !== FORMAT_VERSION || digest !== DIGEST)
  ) {
    throw new DedupeError(
      "STORE_FORMAT",
      `the store in ${STORE_NAME} has format version ${version}, which this version of dedupe does not know (${path})`,
      { hint: `Use a newer dedupe, or remove ${STORE_NAME} (the snapshots stay as they are) and run again.` },
    );
  }
  if (version !== FORMAT_VERSION || !areAttributes(compared) || (merge !== "all" && merge !== "none")) {
    throw new DedupeError(
      "STORE_FORMAT",
      `${STORE_NAME}/format.json is not a store's format file (${path})`,
      {
        hint: `Remove ${STORE_NAME} from the target (the snapshots stay as they are) and run migrate again.`,
      },
    );
  }
  const has = (name: (typeof attributes)[number]): boolean => compared.includes(name);
  return {
    compared: { mode: has("mode"), owner: has("owner"), time: has("time"), xattrs: has("xattrs") },
    merge,
    granularityNs:
      typeof granularityNs === "number" && granularityNs >= 1 ? BigInt(Math.floor(granularityNs)) : 1n,
  };
}

type RawFormat = {
  version?: unknown;
  digest?: unknown;
  compared?: unknown;
  merge?: unknown;
  granularityNs?: unknown;
};

function parse(content: Buffer | undefined): RawFormat | undefined {
  try {
    const value: unknown = content === undefined ? undefined : JSON.parse(content.toString());
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function areAttributes(names: unknown): names is string[] {
  const known: readonly unknown[] = attributes;
  return Array.isArray(names) && names.every((name) => known.includes(name));
}

/** Its head and its length only: nothing else of it is read. */
function lookAtIndex(kernel: Kernel, storeFd: number): ReadStore["index"] {
  let directory = -1;
  try {
    directory = openDirectory(kernel, storeFd, "index");
    if (readFileHead(kernel, directory) === undefined) return "missing";
    // Looked at twice: what cannot be read for a moment is not damaged.
    return looksSound(kernel, directory) || looksSound(kernel, directory) ? "sound" : "damaged";
  } catch (error) {
    if (!isSysError(error)) throw error;
    return error.code === "ENOENT" ? "missing" : "unreadable";
  } finally {
    if (directory >= 0) kernel.sys.close(directory);
  }
}

/** undefined: there is no data.mdb. @throws SysError */
function readFileHead(kernel: Kernel, directory: number): Buffer | undefined {
  const { sys, scratch } = kernel;
  const file = sys.openat(directory, scratch.text("data.mdb"), O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW, 0);
  if (file === -errno.ENOENT) return undefined;
  check(file, "openat", "data.mdb");
  try {
    return readAt(kernel, file, 0, 1);
  } finally {
    sys.close(file);
  }
}
