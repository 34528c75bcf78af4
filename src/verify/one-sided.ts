import type { DifferenceClass } from "./compare.ts";
import { typeName } from "./compare.ts";
import { bytesOf } from "./listing.ts";
import type { TreeRoot } from "./messages.ts";
import { isDirectory, type OpenDirectory, type Selection } from "./selection.ts";
import type { Thread } from "./thread.ts";

/** A directory that one of the trees alone has. */
type Lonely = { parent: OpenDirectory; name: string; path: string; root: TreeRoot };

/** Reports all that lies below a directory which the other tree does not have. */
export class OneSided {
  readonly #thread: Thread;
  readonly #selection: Selection;

  constructor(thread: Thread, selection: Selection) {
    this.#thread = thread;
    this.#selection = selection;
  }

  /** A descriptor a level is held: what is deeper than the process may open ends as a failure of that directory. */
  report({ parent, name, path, root }: Lonely, as: DifferenceClass & ("missing" | "extra")): void {
    const { sys, tally } = this.#thread;
    this.#thread.checkStop();
    let directory: OpenDirectory | undefined;
    try {
      directory = this.#selection.open(parent.fd, name, parent.device);
      for (const entry of this.#selection.list(directory, path, root)) {
        if (as === "missing") tally.names++;
        else tally.targetNames++;
        const below = `${path}/${entry.name}`;
        const type = typeName(entry.type << 12);
        this.#thread.report({
          path: bytesOf(below),
          class: as,
          ...(as === "missing" ? { source: type } : { target: type }),
        });
        if (isDirectory(entry)) this.report({ parent: directory, name: entry.name, path: below, root }, as);
      }
    } catch (error) {
      this.#thread.fail(bytesOf(path), as === "missing" ? "source" : "target", error);
    } finally {
      if (directory !== undefined) sys.close(directory.fd);
    }
  }
}
