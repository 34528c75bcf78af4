import type { MigrateOptions } from "../options.ts";
import type { Kernel } from "../sys/files.ts";
import { XattrCalls } from "../tree/attributes.ts";
import { isDirectoryAt } from "../tree/path.ts";
import { removeTree } from "../tree/remove.ts";
import { probeTraits, type TargetTraits } from "../tree/traits.ts";
import { STORE_NAME, Store, StoreError, type OpeningStore } from "../../store/store.ts";
import { finishInterrupted } from "../relink/finish-interrupted.ts";
import { checkSpace, refuseForeignTarget, targetRefusal, type Notice, type Root } from "./preflight.ts";
import { proveHardLinks, provePublishing } from "./prove-target.ts";

/** Makes or opens the store, probes the target and takes over what a killed run left. @throws DedupeError */
export async function openTarget(
  kernel: Kernel,
  target: Root,
  options: Pick<MigrateOptions, "compared" | "merge" | "indexDir"> & {
    mayBeFull?: boolean;
    /** An empty directory for it was made just now. */
    isMade?: boolean;
    movesIndex?: boolean;
    /** Its root gets the metadata of another directory. */
    getsMetadata?: boolean;
  },
): Promise<{ store: Store; traits: TargetTraits; notices: Notice[] }> {
  const isNew = options.isMade === true || !isDirectoryAt(kernel, target.fd, STORE_NAME);
  const notices = options.mayBeFull === true ? [] : checkSpace(kernel, target, isNew ? "new" : "there");
  let opening: OpeningStore | undefined;
  try {
    opening = Store.open(kernel, target.fd);
    const { tmpFd } = opening.directories;
    proveHardLinks(kernel, tmpFd, target);
    if (options.getsMetadata === true) {
      refuseForeignTarget(kernel, target);
      notices.push(...provePublishing(kernel, tmpFd, target));
    }
    const traits = probeTraits({
      ...kernel,
      xattrs: new XattrCalls(kernel.sys, kernel.scratch),
      dirFd: tmpFd,
    });
    const policy = { compared: options.compared, merge: options.merge };
    const { granularityNs } = traits;
    const { indexDir, movesIndex = false } = options;
    const store = opening.settle({ policy, granularityNs, indexDir, movesIndex });
    const unknown = finishInterrupted({ kernel, rootFd: target.fd, ...store.directories });
    await store.recover();
    return { store, traits, notices: [...notices, ...unknown.map((name) => leftover(target, name))] };
  } catch (error) {
    opening?.abandon();
    const isTheirs = error instanceof StoreError && error.code === "STORE_LOCKED";
    if (isNew && !isTheirs && isDirectoryAt(kernel, target.fd, STORE_NAME)) leaveAsFound(kernel, target.fd);
    throw targetRefusal(error, target.path);
  }
}

/** A temporary name that no log explains. */
export function leftover(root: Root, name: Buffer): Notice {
  const message = `${root.path}/${STORE_NAME}/tmp/${name.toString("latin1")} was left by a killed run and has no other name; it was kept`;
  return { level: "warning", code: "LEFTOVER", message };
}

/** A target that was refused keeps nothing of us. */
function leaveAsFound(kernel: Kernel, targetFd: number): void {
  try {
    removeTree(kernel, targetFd, Buffer.from(STORE_NAME));
  } catch {
    // The refusal is what the user must read; an empty directory more is no harm.
  }
}
