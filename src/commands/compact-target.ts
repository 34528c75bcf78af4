import { tmpdir } from "node:os";
import { DedupeError } from "../errors.ts";
import type { CompactOptions } from "../options.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { readOnlySys } from "../sys/read-only.ts";
import { makeTemporary } from "../tree/temporary.ts";
import { filesystemMagic, linkLimits } from "../tree/traits.ts";
import { listDirectory } from "../compact/count-names.ts";
import {
  StoreView,
  ensureIndex,
  shareForReading,
  storedPolicy,
  type IndexFigures,
  type IndexRow,
  type MergePolicy,
  type Store,
  type StoreShared,
} from "../../store/store.ts";
import { openTarget } from "./open-target.ts";
import { targetRefusal, type Notice, type Root } from "./preflight.ts";
import { aboutExchange } from "./prove-target.ts";
import { stockFolder } from "./relink-root.ts";
import { settleBeside } from "./settle-beside.ts";
import { aboutSelection, readSelection, type Selection } from "./selection.ts";

type Directories = {
  objectsFd: number;
  groupsFd: number;
  stagingFd: number;
  tmpFd: number;
  logFd: number;
};

/** A target whose store is to be cared for. */
export type CompactTarget = {
  policy: MergePolicy;
  selection: Selection;
  /** Undefined in a dry run. */
  store: Store | undefined;
  /** What threads need of it. */
  shared: StoreShared;
  directories: Directories;
  stockFd: number;
  linkLimit: number;
  /** As StoreView.weighIndex; undefined but in a dry run. */
  weighIndex: ((keeps: (row: IndexRow) => boolean | undefined) => Promise<IndexFigures>) | undefined;
  notices: Notice[];
  close(): Promise<void>;
};

/** The policy is the store's own: no option names another. @throws DedupeError */
export function policyOf(kernel: Kernel, target: Root): MergePolicy {
  try {
    const policy = storedPolicy(kernel, target.fd);
    if (policy !== undefined) return policy;
  } catch (error) {
    throw targetRefusal(error, target.path);
  }
  throw new DedupeError("NO_STORE", `the target ${target.path} has no store (.dedupe) to be cared for`, {
    hint: "dedupe migrate makes one, and dedupe relink makes one of a tree that is there.",
  });
}

/** Locks the store and finishes what a killed run left. @throws DedupeError */
export async function openForCare(
  kernel: Kernel,
  target: Root,
  options: Pick<CompactOptions, "indexDir" | "steps">,
): Promise<CompactTarget> {
  const policy = policyOf(kernel, target);
  const selection = readSelection(kernel, target);
  const { indexDir, steps } = options;
  const { store, traits, notices } = await openTarget(kernel, target, {
    ...{ ...policy, indexDir, mayBeFull: true },
  });
  try {
    const { directories, shared } = store;
    const exchange = aboutExchange(kernel, directories.tmpFd, target);
    const kept = settleBeside(kernel, target);
    return {
      ...{ policy, selection, store, shared, directories, linkLimit: traits.linkLimit },
      weighIndex: undefined,
      stockFd: stockFolder(kernel, target, { tmpFd: directories.tmpFd, indexDir }),
      // A finding says it better.
      notices: notices
        .filter(({ code }) => code !== "LEFTOVER")
        .concat(kept, steps.includes("index") ? aboutIndex(kernel, store, target) : [])
        .concat(aboutSelection(selection, target), exchange),
      close: () => store.close(),
    };
  } catch (error) {
    await store.close();
    throw targetRefusal(error, target.path);
  }
}

function aboutIndex(kernel: Kernel, { indexState, directories }: Store, { path }: Root): Notice[] {
  if (indexState === "sound" || (indexState === "empty" && !hasObjects(kernel, directories.objectsFd)))
    return [];
  const what = indexState === "empty" ? "there is no index yet, or it was removed" : "the index was damaged";
  const message = `${what} (${path}): it is made anew from the store, which is read for that`;
  return [{ level: "info", code: "INDEX_REBUILT", message }];
}

/** Without any there is nothing to be known: holders have no rows. */
function hasObjects(kernel: Kernel, objectsFd: number): boolean {
  const path = ".dedupe/objects";
  return listDirectory(kernel, objectsFd, path).some(({ name }) => {
    const fd = openDirectory(kernel, objectsFd, name);
    try {
      return listDirectory(kernel, fd, `${path}/${name.toString()}`).length > 0;
    } finally {
      kernel.sys.close(fd);
    }
  });
}

/** Only looks, and keeps what writes away meanwhile. @throws DedupeError */
export async function openToLook(
  kernel: Kernel,
  target: Root,
  { indexDir }: Pick<CompactOptions, "indexDir">,
): Promise<CompactTarget> {
  const policy = policyOf(kernel, target);
  const selection = readSelection(kernel, target);
  const reader = { sys: readOnlySys(kernel.sys), scratch: kernel.scratch };
  const view = viewOf(reader, target, policy);
  const temporary = makeTemporary(kernel, tmpdir());
  try {
    const indexPath = temporary.make("index");
    await view.copyIndex(kernel, indexPath, indexDir);
    await ensureIndex(kernel, indexPath);
    const magic = filesystemMagic(kernel.sys, target.fd, kernel.sys.allocate(256));
    return {
      ...{ policy, selection, store: undefined, directories: view, stockFd: temporary.fd },
      notices: aboutSelection(selection, target),
      shared: shareForReading({ ...fdsOf(view), indexPath }),
      linkLimit: linkLimits.get(magic) ?? 0,
      weighIndex: (keeps) => view.weighIndex(kernel, indexPath, keeps),
      close: () => {
        temporary.remove();
        view.close();
        return Promise.resolve();
      },
    };
  } catch (error) {
    temporary.remove();
    view.close();
    throw targetRefusal(error, target.path);
  }
}

function viewOf(reader: Kernel, target: Root, policy: MergePolicy): StoreView {
  try {
    const view = StoreView.open(reader, target.fd, policy);
    if (view === undefined) throw new Error("the store went away");
    return view;
  } catch (error) {
    throw targetRefusal(error, target.path);
  }
}

const fdsOf = ({ objectsFd, groupsFd, stagingFd }: Directories) => ({ objectsFd, groupsFd, stagingFd });
