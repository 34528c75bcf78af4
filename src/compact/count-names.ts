import { AT_SYMLINK_NOFOLLOW, DT_DIR, DT_UNKNOWN, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "../tree/listing.ts";

type Listed = { name: Buffer; type: number; ino: bigint };

/** What is in the directory, in the order of bytes; nothing where there is no such directory (-1). @throws SysError */
export function listDirectory({ sys, scratch }: Kernel, fd: number, path: string): Listed[] {
  if (fd < 0) return [];
  const own = check(
    sys.openat(fd, scratch.text("."), O_RDONLY | sys.O_DIRECTORY | O_CLOEXEC, 0),
    "openat",
    path,
  );
  const listing = new Listing(sys);
  const found: Listed[] = [];
  try {
    while (check(listing.read(own), "getdents64", path) > 0)
      while (listing.next())
        found.push({ name: listing.copyName(), type: listing.type, ino: inoOf(listing) });
  } finally {
    sys.close(own);
  }
  return found.sort((a, b) => a.name.compare(b.name));
}

const inoOf = ({ inoHigh, inoLow }: Listing): bigint => (BigInt(inoHigh) << 32n) | BigInt(inoLow);

/** Counts the names of some inodes: memory for those alone, and no look at an inode where the listing tells its number. */
export class NameCounter {
  readonly #kernel: Kernel;
  readonly #counts: Map<bigint, number>;
  readonly #trustsDirentIno: boolean;

  constructor(kernel: Kernel, inodes: Iterable<bigint>, trustsDirentIno: boolean) {
    this.#kernel = kernel;
    this.#counts = new Map(Array.from(inodes, (ino) => [ino, 0]));
    this.#trustsDirentIno = trustsDirentIno;
  }

  of(ino: bigint): number {
    return this.#counts.get(ino) ?? 0;
  }

  /** All in the directory and below; -1: there is none. @throws SysError */
  addDirectory(fd: number, path: string): void {
    for (const { name, type, ino } of listDirectory(this.#kernel, fd, path)) {
      if (this.#trustsDirentIno && type !== DT_DIR && type !== DT_UNKNOWN) this.#count(ino);
      else this.add(fd, { name, type, path });
    }
  }

  /** The name, or all below it. @throws SysError */
  add(dirFd: number, { name, type, path }: Pick<Listed, "name" | "type"> & { path: string }): void {
    const { sys, scratch } = this.#kernel;
    const stat = new Stat(sys);
    if (type !== DT_DIR) {
      check(sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
      if (!stat.isDirectory) {
        this.#count(stat.ino);
        return;
      }
    }
    const fd = openDirectory(this.#kernel, dirFd, name);
    try {
      this.addDirectory(fd, `${path}/${name.toString()}`);
    } finally {
      sys.close(fd);
    }
  }

  #count(ino: bigint): void {
    const count = this.#counts.get(ino);
    if (count !== undefined) this.#counts.set(ino, count + 1);
  }
}
