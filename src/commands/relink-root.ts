import { tmpdir } from "node:os";
import { resolve } from "node:path";
import type { RelinkOptions } from "../options.ts";
import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { isSysError } from "../sys/errors.ts";
import { openDirectory, openRoot, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { filterFrom, type FilterRules } from "../tree/filter.ts";
import { freeSpace, hasRoom, identifyFilesystem, type Room } from "../tree/identity.ts";
import { readMounts } from "../tree/mounts.ts";
import { parentAndName } from "../tree/path.ts";
import { pathOfDescriptor } from "../tree/reach.ts";
import { planUnits, type UnitPlan } from "../tree/snapshots.ts";
import { makeTemporary, type Temporary } from "../tree/temporary.ts";
import { filesystemMagic, linkLimits } from "../tree/traits.ts";
import { finishInterrupted } from "../relink/finish-interrupted.ts";
import type { RelinkRules } from "../relink/messages.ts";
import { ROOM } from "../relink/relinking.ts";
import { STORE_NAME, StoreView, type Store, type StoreShared } from "../../store/store.ts";
import { leftover, openTarget } from "./open-target.ts";
import { refuseUnmerged } from "./relink-policy.ts";
import { targetRefusal, type Notice, type Root } from "./preflight.ts";
import { aboutExchange } from "./prove-target.ts";
import { refuseReadOnlyRoot } from "./read-only.ts";
import { giveBackBeside, lockRoot, putTimeBack, settleBeside, timeOf } from "./settle-beside.ts";
import { snapshotMatcher } from "./snapshot-glob.ts";

/** The stock of one name or inode, in all its scratch files, roughly. */
const STOCK_BYTES = 512;
/** With less there is no use in trying to make a store: its fan-out alone may take 256 inodes. */
const CRAMPED: Room = { bytes: 4 << 20, inodes: 300 };
/** Where the filesystem does not say how many inodes it has. */
const STOCK_ROOM_BYTES = 2 ** 30;

export type OpenedRoot = {
  /** Undefined in a dry run, and where there is no room for one. */
  store: Store | undefined;
  /** For the threads; undefined where they have nothing to look up. */
  shared: StoreShared | undefined;
  /** Opens it once there may be room. */
  openStore: (() => Promise<Store>) | undefined;
  /** -1 for none. */
  objectsFd: number;
  logFd: number;
  stockFd: number;
  linkLimit: number;
  notices: Notice[];
  /** @returns what is to be said then */
  close(): Promise<Notice[]>;
};

/** The store, made where there is none; in a dry run only looked at. @throws DedupeError */
export async function openRelinkRoot(
  kernel: Kernel,
  root: Root,
  options: RelinkOptions,
): Promise<OpenedRoot> {
  const before = timeOf(kernel, root);
  try {
    refuseUnmerged(kernel, root, options);
    if (options.dryRun) return await lookAtRoot(kernel, root, options);
    refuseReadOnlyRoot(kernel, root);
    const kept = settleBeside(kernel, root);
    if (!hasRoom(kernel.sys, root.fd, CRAMPED)) return openCramped(kernel, root, { ...options, kept });
    const isMade = makeRoomForStore(kernel, root, before);
    return withNotices(await openForWork(kernel, root, { ...options, isMade }), kept);
  } catch (error) {
    // A store that was made for nothing is gone again.
    if (!options.dryRun) putTimeBack(kernel, root, before);
    throw targetRefusal(error, root.path);
  }
}

function withNotices(opened: OpenedRoot, more: readonly Notice[]): OpenedRoot {
  return { ...opened, notices: [...opened.notices, ...more] };
}

/** The root is a directory of the tree as any other: its time is off for no longer than it must be. */
function makeRoomForStore(kernel: Kernel, root: Root, mtimeNs: bigint): boolean {
  const made = kernel.sys.mkdirat(root.fd, kernel.scratch.text(STORE_NAME), 0o700);
  if (made === 0) putTimeBack(kernel, root, mtimeNs);
  return made === 0;
}

async function lookAtRoot(kernel: Kernel, root: Root, options: RelinkOptions): Promise<OpenedRoot> {
  const { compared, merge, indexDir } = options;
  const view = StoreView.open(kernel, root.fd, { compared, merge });
  const temporary = temporaryIn(kernel, indexDir);
  const index = { fd: temporary.open("index"), path: temporary.make("index") };
  const shared = await view?.shareIndex(
    kernel,
    index,
    indexDir === undefined ? undefined : resolve(indexDir),
  );
  const magic = filesystemMagic(kernel.sys, root.fd, kernel.sys.allocate(256));
  return {
    ...{ store: undefined, shared, openStore: undefined },
    objectsFd: view?.objectsFd ?? -1,
    logFd: view?.logFd ?? -1,
    stockFd: temporary.fd,
    linkLimit: linkLimits.get(magic) ?? 0,
    notices: [],
    close: () => {
      kernel.sys.close(index.fd);
      temporary.remove();
      view?.close();
      return Promise.resolve([]);
    },
  };
}

type Working = RelinkOptions & { isMade: boolean };

async function openForWork(kernel: Kernel, root: Root, options: Working): Promise<OpenedRoot> {
  const index = placeOfIndex(kernel, root, options);
  const { store, traits, notices } = await openTarget(kernel, root, {
    ...options,
    ...index,
    mayBeFull: true,
  }).catch((error: unknown) => {
    index.remove();
    throw error;
  });
  const close = async (): Promise<Notice[]> => {
    await store.close();
    index.remove();
    return [];
  };
  try {
    const { tmpFd, objectsFd, logFd } = store.directories;
    const about = aboutExchange(kernel, tmpFd, root);
    return {
      ...{ store, shared: store.shared, openStore: undefined, objectsFd, logFd, linkLimit: traits.linkLimit },
      stockFd: stockFolder(kernel, root, { tmpFd, indexDir: options.indexDir }),
      notices: [...notices, ...about],
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A folder for the index that is not there yet is made when there is an index. */
function temporaryIn(kernel: Kernel, indexDir: string | undefined): Temporary {
  try {
    return makeTemporary(kernel, indexDir ?? tmpdir());
  } catch (error) {
    if (indexDir === undefined || !isSysError(error, "ENOENT")) throw error;
    return makeTemporary(kernel, tmpdir());
  }
}

type IndexPlace = { indexDir: string | undefined; movesIndex: boolean; remove: () => void };

/** On a target that has little room a new index grows elsewhere, and moves when the run is over. */
function placeOfIndex(kernel: Kernel, root: Root, { indexDir }: RelinkOptions): IndexPlace {
  const isCramped = !hasRoom(kernel.sys, root.fd, ROOM);
  if (indexDir !== undefined || !isCramped || hasIndex(kernel, root))
    return { indexDir, movesIndex: false, remove: () => undefined };
  const temporary = makeTemporary(kernel, tmpdir());
  const remove = (): void => {
    temporary.remove();
  };
  return { indexDir: temporary.make("index"), movesIndex: true, remove };
}

function hasIndex({ sys, scratch }: Kernel, root: Root): boolean {
  const stat = new Stat(sys);
  const name = scratch.text(`${STORE_NAME}/index/data.mdb`);
  return sys.statx(root.fd, name, AT_SYMLINK_NOFOLLOW, stat.address) === 0;
}

/** What anyone may write yet: of what is kept back for root not all can be used (ext4 keeps a share for itself). */
export function freeBytesOf(kernel: Kernel, fd: number): number {
  return freeSpace(kernel.sys, fd, kernel.sys.allocate(256)).bytes;
}

/** `kept`: what was said of names that a killed run left. */
type Cramped = RelinkOptions & { kept: readonly Notice[] };

/** A full disk: nothing can be made on it. A store that is there is locked and finished, but not opened for writing. */
function openCramped(kernel: Kernel, root: Root, { kept, ...options }: Cramped): OpenedRoot {
  const rootLock = lockRoot(kernel, root);
  let view = StoreView.open(kernel, root.fd, options);
  const closeView = (): void => {
    view?.close();
    view = undefined;
  };
  const unknown = view === undefined ? [] : finishLeftovers(kernel, root, view);
  const temporary = temporaryIn(kernel, options.indexDir);
  const magic = filesystemMagic(kernel.sys, root.fd, kernel.sys.allocate(256));
  let opened: Late | undefined;
  return {
    ...{ store: undefined, shared: undefined },
    openStore: async () => {
      closeView();
      opened = await openLate(kernel, root, options);
      return opened.store;
    },
    objectsFd: view?.objectsFd ?? -1,
    logFd: view?.logFd ?? -1,
    stockFd: temporary.fd,
    linkLimit: linkLimits.get(magic) ?? 0,
    notices: [cramped(root), ...unknown.map((name) => leftover(root, name)), ...kept],
    close: async () => {
      temporary.remove();
      try {
        return giveBackBeside(kernel, root).filter(
          ({ message }) => !kept.some((each) => each.message === message),
        );
      } finally {
        closeView();
        await opened?.store.close();
        opened?.index.remove();
        kernel.sys.close(rootLock);
      }
    },
  };
}

type Late = { store: Store; index: IndexPlace };

/** The store of a disk that was full. */
async function openLate(kernel: Kernel, root: Root, options: RelinkOptions): Promise<Late> {
  const before = timeOf(kernel, root);
  const isMade = makeRoomForStore(kernel, root, before);
  const index = placeOfIndex(kernel, root, options);
  try {
    const { store } = await openTarget(kernel, root, { ...options, ...index, mayBeFull: true, isMade });
    return { store, index };
  } catch (error) {
    index.remove();
    throw error;
  } finally {
    putTimeBack(kernel, root, before);
  }
}

function cramped(root: Root): Notice {
  const message = `${root.path} is full: duplicates give way to the surviving name first, the store comes when there is room`;
  return { level: "info", code: "FULL", message };
}

function finishLeftovers(kernel: Kernel, root: Root, { objectsFd, logFd }: StoreView): Buffer[] {
  if (objectsFd < 0 || logFd < 0) return [];
  const storeFd = openDirectory(kernel, root.fd, STORE_NAME);
  const tmpFd = openDirectory(kernel, storeFd, "tmp");
  const unknown = finishInterrupted({ kernel, rootFd: root.fd, tmpFd, logFd, objectsFd });
  for (const fd of [tmpFd, storeFd]) kernel.sys.close(fd);
  return unknown;
}

/** Names and inodes are written down where the user says, else on the target if it has the room, else in /tmp. */
export function stockFolder(
  kernel: Kernel,
  root: Root,
  { tmpFd, indexDir }: { tmpFd: number; indexDir: string | undefined },
): number {
  if (indexDir !== undefined) return openRoot(kernel, indexDir);
  const memory = kernel.sys.allocate(256);
  const { bytes, hasInodes } = freeSpace(kernel.sys, root.fd, memory);
  const files = Number(memory.bytes.readBigUInt64LE(40)) - Number(memory.bytes.readBigUInt64LE(48));
  const needed = hasInodes ? 2 * files * STOCK_BYTES : STOCK_ROOM_BYTES;
  // Each thread needs some inodes for it, too.
  const fits = bytes > needed && hasRoom(kernel.sys, root.fd, ROOM);
  return fits ? tmpFd : openRoot(kernel, tmpdir());
}

type ChosenFrom =
  "compared" | "merge" | "minSizeBytes" | "maxSizeBytes" | "bwlimitBytes" | "oneFileSystem" | "snapshotsGlob";
type Chosen = { options: Pick<RelinkOptions, ChosenFrom>; filter: FilterRules | undefined };

export function rulesOf(kernel: Kernel, root: Root, { options, filter }: Chosen): RelinkRules {
  const { compared, merge, minSizeBytes, maxSizeBytes, bwlimitBytes, oneFileSystem } = options;
  const { identity } = identifyFilesystem(kernel.sys, root.fd, root.device, kernel.sys.allocate(512));
  const path = (pathOfDescriptor(kernel, root.fd) ?? root.path).replace(/\/*$/, "/");
  const points = readMounts(kernel).map(({ point }) => point);
  const mountPoints = points.flatMap((point) => (point.startsWith(path) ? [point.slice(path.length)] : []));
  return {
    ...{ compared, merge, minSizeBytes, maxSizeBytes, bwlimitBytes, oneFileSystem, filter, identity },
    mountPoints,
    device: root.device,
  };
}

export function planRoot(kernel: Kernel, root: Root, { options, filter: rules }: Chosen): UnitPlan {
  const { snapshotsGlob } = options;
  const filter = rules === undefined ? undefined : filterFrom(rules);
  return planUnits(kernel, root.fd, {
    isSnapshot: snapshotsGlob === undefined ? undefined : snapshotMatcher(snapshotsGlob),
    // Nor that of another target below: its files change in place.
    takes: (path) =>
      parentAndName(path).name.toString("latin1") !== STORE_NAME &&
      (filter?.takes(path, "directory") ?? true),
    oneFileSystem: true,
  });
}
