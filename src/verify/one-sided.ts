import { O_CLOEXEC } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { DifferenceClass } from "./compare.ts";
import { typeName } from "./compare.ts";
import { Changed } from "./inode-reader.ts";
import { bytesOf, type Listed } from "./listing.ts";
import type { TreeRoot } from "./messages.ts";
import { isDirectory, type OpenDirectory, type Selection } from "./selection.ts";
import type { Thread } from "./thread.ts";

/** Descriptors of ancestors kept open; further up a directory is found again through "..". */
const OPEN_ANCESTORS = 16;

/** A directory that one of the trees alone has. */
type Lonely = { parent: OpenDirectory; name: string; path: string; root: TreeRoot };
/** One that was listed; `next` is the first entry of it that was not told. `inode` tells it when it is found again. */
type Level = { path: string; directory: OpenDirectory; inode: string; entries: Listed[]; next: number };
type Side = DifferenceClass & ("missing" | "extra");

/** Reports all that lies below a directory which the other tree does not have. */
export class OneSided {
  readonly #thread: Thread;
  readonly #selection: Selection;

  constructor(thread: Thread, selection: Selection) {
    this.#thread = thread;
    this.#selection = selection;
  }

  report({ parent, name, path, root }: Lonely, as: Side): void {
    const levels: Level[] = [];
    try {
      this.#enter(levels, { parent, name, path, root }, as);
      for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
        const entry = level.entries[level.next++];
        if (entry === undefined) {
          this.#leave(levels, as);
          continue;
        }
        const below = `${level.path}/${entry.name}`;
        this.#tell(below, entry, as);
        if (isDirectory(entry))
          this.#enter(levels, { parent: level.directory, name: entry.name, path: below, root }, as);
      }
    } finally {
      for (const { directory } of levels) this.#close(directory);
    }
  }

  #tell(path: string, entry: Listed, as: Side): void {
    const { tally } = this.#thread;
    if (as === "missing") tally.names++;
    else tally.targetNames++;
    const type = typeName(entry.type << 12);
    this.#thread.report({
      path: bytesOf(path),
      class: as,
      ...(as === "missing" ? { source: type } : { target: type }),
    });
  }

  #enter(levels: Level[], { parent, name, path, root }: Lonely, as: Side): void {
    this.#thread.checkStop();
    let directory: OpenDirectory | undefined;
    try {
      directory = this.#selection.open(parent.fd, name, parent.device);
      const inode = this.#inodeOf(directory);
      const entries = this.#selection.list(directory, path, root);
      levels.push({ path, directory, inode, entries, next: 0 });
      const distant = levels.at(-1 - OPEN_ANCESTORS);
      if (distant !== undefined) this.#close(distant.directory);
    } catch (error) {
      if (directory !== undefined) this.#close(directory);
      this.#fail(path, as, error);
    }
  }

  /** Where the tree was moved meanwhile, what is left of those above cannot be found again. */
  #leave(levels: Level[], as: Side): void {
    const { sys, scratch } = this.#thread;
    const left = levels.pop() as Level;
    const above = levels.at(-1);
    try {
      if (above === undefined || above.directory.fd >= 0) return;
      const flags = sys.O_DIRECTORY | O_CLOEXEC;
      above.directory.fd = check(sys.openat(left.directory.fd, scratch.text(".."), flags, 0), "openat");
      if (this.#inodeOf(above.directory) !== above.inode) throw new Changed("was moved while it was read");
    } catch (error) {
      for (const { path, directory } of levels.splice(0)) {
        this.#close(directory);
        this.#fail(path, as, error);
      }
    } finally {
      this.#close(left.directory);
    }
  }

  #inodeOf({ fd }: OpenDirectory): string {
    const { device, inoHigh, inoLow } = this.#selection.identify(fd);
    return [device, inoHigh, inoLow].join(":");
  }

  #fail(path: string, as: Side, error: unknown): void {
    this.#thread.fail(bytesOf(path), as === "missing" ? "source" : "target", error);
  }

  #close(directory: OpenDirectory): void {
    if (directory.fd >= 0) this.#thread.sys.close(directory.fd);
    directory.fd = -1;
  }
}
