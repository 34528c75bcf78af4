import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Ref } from "../../store/store.ts";
import { XattrCalls, sameXattrs } from "../tree/attributes.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { entryFailure, type EntryFailure } from "../work/errors.ts";
import {
  encodeDirectories,
  forgetBatchLog,
  writeBatchLog,
  type LoggedDirectory,
} from "../relink/batch-log.ts";
import { finishInterrupted } from "../relink/finish-interrupted.ts";
import { isInode, isState } from "../relink/inode-state.ts";
import type { Interrupted } from "../relink/interrupted.ts";
import { NameMender, isInStore } from "../relink/name-mender.ts";
import { changed } from "../relink/stable-content.ts";
import { Replacer } from "../relink/replace.ts";
import type { DamagedInode, Outcome } from "./damaged.ts";
import { logDirectories, type Replacement } from "./log-directories.ts";

const TEMPORARY = Buffer.from("relink.repair");

/** Puts copies in the place of damaged inodes: the numbered order of docs/design.md, "Repairing", from the log on. */
export class Replacing {
  readonly #parts: Interrupted;
  readonly #kernel: Kernel;
  readonly #replacer: Replacer;
  readonly #mender: NameMender;
  readonly #xattrs: XattrCalls;
  readonly #stat: Stat;

  constructor(parts: Interrupted) {
    const { kernel, tmpFd } = parts;
    this.#parts = parts;
    this.#kernel = kernel;
    this.#replacer = new Replacer(kernel, tmpFd, TEMPORARY);
    // A copy was read back, and is known by its inode.
    this.#mender = new NameMender({ ...parts, isGood: () => true }, TEMPORARY);
    this.#xattrs = new XattrCalls(kernel.sys, kernel.scratch);
    this.#stat = new Stat(kernel.sys);
  }

  /** The copies are durable. @throws RunFailure, SysError; the log is there then, and the next run finishes */
  run(replacements: readonly Replacement[]): Outcome[] {
    const { rootFd, logFd } = this.#parts;
    const directories = logDirectories(this.#parts, replacements);
    writeBatchLog(this.#kernel, logFd, encodeDirectories(directories));
    check(this.#kernel.sys.syncfs(rootFd), "syncfs");
    const failures = new Map<string, EntryFailure>();
    for (const replacement of replacements) {
      const failure = this.#placeObject(replacement);
      if (failure !== undefined) failures.set(keyOf(replacement.copy.inode), failure);
    }
    this.#mend(directories, failures);
    // What a failed call left behind is what a kill leaves.
    if (failures.size > 0) finishInterrupted(this.#parts);
    else forgetBatchLog(this.#kernel, logFd);
    return replacements.map((each) => this.#outcomeOf(each, failures.get(keyOf(each.copy.inode))));
  }

  /** The copy takes the object's name, if what comes out there is the inode that was examined. */
  #placeObject({ copy, state }: Replacement): EntryFailure | undefined {
    const { sys, scratch } = this.#kernel;
    const { tmpFd, objectsFd } = this.#parts;
    const { ref, attributes, state: victim } = copy.inode;
    try {
      const hasXattrs = (fd: number): boolean => sameXattrs(this.#xattrs.read({ fd }), attributes.xattrs);
      const name = Buffer.from(new Ref(sys).setBytes(ref).text);
      const from = { dirFd: tmpFd, name: scratch.at(copy.name), state };
      this.#replacer.replace({ dirFd: objectsFd, name, victim, hasXattrs }, from);
      check(sys.unlinkat(tmpFd, scratch.at(copy.name), 0), "unlinkat");
      return undefined;
    } catch (error) {
      return entryFailure(error, "target");
    }
  }

  #mend(directories: readonly LoggedDirectory[], failures: Map<string, EntryFailure>): void {
    for (const directory of directories.filter((each) => !isInStore(each)))
      for (const { name, failure } of this.#mender.mend(directory))
        failures.set(keyOf(name), failures.get(keyOf(name)) ?? failure);
  }

  #outcomeOf({ copy, names, state }: Replacement, failure: EntryFailure | undefined): Outcome {
    const { inode, from, sizeBytes } = copy;
    const { object } = inode;
    const left = stillNames(this.#parts, inode, names);
    if (left.length === 0 && this.#isPlaced(inode, state)) {
      const outside = Math.max(0, inode.links - 1 - names.length);
      return { type: "restored", object, from, names, outside, sizeBytes };
    }
    const { code, message } = failure ?? changed();
    return { type: "unrepaired", object, code, message, names: left };
  }

  #isPlaced({ ref }: DamagedInode, state: Uint32Array): boolean {
    const { sys } = this.#kernel;
    const name = new Ref(sys).setBytes(ref);
    const found = sys.statx(this.#parts.objectsFd, name.format(), AT_SYMLINK_NOFOLLOW, this.#stat.address);
    return found === 0 && isInode(this.#stat, state);
  }
}

const keyOf = ({ ref }: { ref: Buffer }): string => ref.toString("latin1");

/** Those names that lead to the inode as it was examined. */
export function stillNames(
  { kernel, rootFd }: Pick<Interrupted, "kernel" | "rootFd">,
  { state }: DamagedInode,
  names: readonly Buffer[],
): readonly Buffer[] {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  return names.filter((path) => {
    const { parent, name } = parentAndName(path);
    const dirFd = openBelow(kernel, rootFd, parent);
    if (dirFd < 0) return false;
    const found = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
    sys.close(dirFd);
    return found === 0 && isState(stat, state);
  });
}
