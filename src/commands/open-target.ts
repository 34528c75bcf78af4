import type { MigrateOptions } from "../options.ts";
import { RENAME_NOREPLACE } from "../sys/constants.ts";
import { SysError, check, errno } from "../sys/errors.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { XattrCalls } from "../tree/attributes.ts";
import { readMounts } from "../tree/mounts.ts";
import { removeTree } from "../tree/remove.ts";
import { probeTraits, type TargetTraits } from "../tree/traits.ts";
import { STORE_NAME, Store, StoreError, type OpeningStore } from "../../store/store.ts";
import { finishInterrupted } from "../relink/finish-interrupted.ts";
import {
  checkSpace,
  noHardLinks,
  noPublishing,
  refuseForeignTarget,
  targetRefusal,
  type Notice,
  type Root,
} from "./preflight.ts";

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
  const isNew = options.isMade === true || !hasStore(kernel, target.fd);
  const aboutSpace = options.mayBeFull === true ? [] : checkSpace(kernel, target, isNew ? "new" : "there");
  let opening: OpeningStore | undefined;
  try {
    opening = Store.open(kernel, target.fd);
    const { tmpFd } = opening.directories;
    proveHardLinks(kernel, tmpFd, target);
    if (options.getsMetadata === true) {
      refuseForeignTarget(kernel, target);
      if (isNew) provePublishing(kernel, tmpFd, target);
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
    return { store, traits, notices: [...aboutSpace, ...unknown.map((name) => leftover(target, name))] };
  } catch (error) {
    opening?.abandon();
    const isTheirs = error instanceof StoreError && error.code === "STORE_LOCKED";
    if (isNew && !isTheirs && hasStore(kernel, target.fd)) leaveAsFound(kernel, target.fd);
    throw targetRefusal(error, target.path);
  }
}

/** A temporary name that no log explains. */
export function leftover(root: Root, name: Buffer): Notice {
  const message = `${root.path}/${STORE_NAME}/tmp/${name.toString("latin1")} was left by a killed run and has no other name; it was kept`;
  return { level: "warning", code: "LEFTOVER", message };
}

function hasStore(kernel: Kernel, targetFd: number): boolean {
  try {
    kernel.sys.close(openDirectory(kernel, targetFd, STORE_NAME));
    return true;
  } catch {
    return false;
  }
}

/** A target that was refused keeps nothing of us. */
function leaveAsFound(kernel: Kernel, targetFd: number): void {
  try {
    removeTree(kernel, targetFd, Buffer.from(STORE_NAME));
  } catch {
    // The refusal is what the user must read; an empty directory more is no harm.
  }
}

const noFlags: readonly number[] = [-errno.EINVAL, -errno.ENOSYS, -errno.EOPNOTSUPP];

/** A snapshot is published by a rename that must not replace anything, which not every filesystem can: shown by one. */
function provePublishing(kernel: Kernel, dirFd: number, target: Root): void {
  const { sys, scratch } = kernel;
  const [one, two] = [Buffer.from("rename-probe.1"), Buffer.from("rename-probe.2")];
  for (const name of [one, two]) sys.unlinkat(dirFd, scratch.at(name), 0);
  check(sys.mknodat(dirFd, scratch.at(one), 0o100600, 0), "mknodat", one);
  const renamed = sys.renameat2(dirFd, scratch.at(one), dirFd, scratch.at(two), RENAME_NOREPLACE);
  for (const name of [one, two]) sys.unlinkat(dirFd, scratch.at(name), 0);
  if (noFlags.includes(renamed)) throw noPublishing(target.path, typeOf(kernel, target));
}

/** FAT, exFAT and some network filesystems have no hard links: shown by making one. */
function proveHardLinks(kernel: Kernel, dirFd: number, target: Root): void {
  const { sys, scratch } = kernel;
  const [one, two] = [Buffer.from("link-probe.1"), Buffer.from("link-probe.2")];
  for (const name of [one, two]) sys.unlinkat(dirFd, scratch.at(name), 0);
  const made = sys.mknodat(dirFd, scratch.at(one), 0o100600, 0);
  if (made < 0) throw new SysError("mknodat", -made, one);
  const linked = sys.linkat(dirFd, scratch.at(one), dirFd, scratch.at(two), 0);
  for (const name of [one, two]) sys.unlinkat(dirFd, scratch.at(name), 0);
  if (linked === 0) return;
  const cause = new SysError("linkat", -linked, two);
  throw noHardLinks(target.path, typeOf(kernel, target), cause);
}

function typeOf(kernel: Kernel, target: Root): string {
  return readMounts(kernel).find(({ device }) => device === target.device)?.type ?? "a file system";
}
