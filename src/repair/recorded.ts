import type { Kernel } from "../sys/files.ts";
import { objectHints, type ObjectHint } from "../../store/store.ts";
import { timeAt, inoAt, MTIME } from "../relink/layout.ts";
import type { DamagedInode } from "./damaged.ts";

type Row = { ref: Buffer; target: ObjectHint["target"] };

/** What the index says of some inodes. It is read as a whole, once it is asked for; `indexFd` -1 where there is none. */
export class RecordedObjects {
  readonly #kernel: Kernel;
  readonly #indexFd: number;
  readonly #wanted: ReadonlySet<bigint>;
  #rows: Map<bigint, Row[]> | undefined;

  /** `wanted`: inode numbers. */
  constructor(kernel: Kernel, indexFd: number, wanted: ReadonlySet<bigint>) {
    this.#kernel = kernel;
    this.#indexFd = indexFd;
    this.#wanted = wanted;
  }

  /** Whether the inode was known as the object that its name says, with the size and time that it has now. */
  has(inode: DamagedInode): boolean {
    return this.#rowsOf(inode).some(({ ref }) => ref.equals(inode.ref));
  }

  /** Whether the inode was known to have this content, with the size and time that it has now. */
  hasContent(inode: DamagedInode, digest: Buffer): boolean {
    return this.#rowsOf(inode).some(({ ref }) => digest.equals(ref.subarray(0, digest.length)));
  }

  #rowsOf({ state, sizeBytes }: DamagedInode): Row[] {
    this.#rows ??= this.#read();
    const rows = this.#rows.get(inoAt(state)) ?? [];
    const mtimeNs = timeAt(state, MTIME);
    return rows.filter(
      ({ target }) => Math.abs(target.sizeBytes) === sizeBytes && target.mtimeNs === mtimeNs,
    );
  }

  #read(): Map<bigint, Row[]> {
    const found = new Map<bigint, Row[]>();
    if (this.#indexFd < 0) return found;
    for (const { ref, target } of objectHints(this.#kernel, this.#indexFd)) {
      if (!this.#wanted.has(target.ino)) continue;
      // The row lies in a buffer that is filled again.
      const row = { ref: Buffer.from(ref), target };
      found.set(target.ino, [...(found.get(target.ino) ?? []), row]);
    }
    return found;
  }
}
