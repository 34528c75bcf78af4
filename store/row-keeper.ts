import { AT_SYMLINK_NOFOLLOW } from "../src/sys/constants.ts";
import type { Kernel } from "../src/sys/files.ts";
import { Stat } from "../src/sys/stat.ts";
import type { IndexRow } from "./index/index.ts";
import { Ref } from "./ref.ts";

/** Says which rows of the index speak of what the store still has, by looking at each inode (P9). */
export class RowKeeper {
  readonly #kernel: Kernel;
  readonly #directories: { objectsFd: number; groupsFd: number };
  readonly #stat: Stat;
  readonly #ref: Ref;

  constructor(kernel: Kernel, directories: { objectsFd: number; groupsFd: number }) {
    this.#kernel = kernel;
    this.#directories = directories;
    this.#stat = new Stat(kernel.sys);
    this.#ref = new Ref(kernel.sys);
  }

  /** A row of a size stays: that there is no such object costs the next run a hash, and no more. */
  isKept(row: IndexRow): boolean {
    if (row.type === "size") return true;
    if (row.type === "unknown" || !this.#look(row.ref)) return false;
    const { ino, sizeBytes, mtimeNs } = row.target;
    if (this.#stat.ino !== ino) return false;
    if (row.type === "source") return true;
    // One that is not believed any more is a repair's hint.
    return this.#stat.mtimeNs === mtimeNs && (sizeBytes < 0 || this.#stat.sizeBytes === sizeBytes);
  }

  #look(bytes: Buffer): boolean {
    const { sys } = this.#kernel;
    const ref = this.#ref.setBytes(bytes);
    const { objectsFd, groupsFd } = this.#directories;
    const directory = ref.kind === "object" ? objectsFd : groupsFd;
    return sys.statx(directory, ref.format(), AT_SYMLINK_NOFOLLOW, this.#stat.address) === 0;
  }
}
