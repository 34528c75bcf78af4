import { AT_SYMLINK_NOFOLLOW, DT_DIR, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "../tree/listing.ts";

type Entry = { name: Buffer; type: number };

/** What is in the directory, in the order of bytes; nothing where there is no such directory (-1). @throws SysError */
export function listDirectory({ sys, scratch }: Kernel, fd: number): Entry[] {
  if (fd < 0) return [];
  const own = check(sys.openat(fd, scratch.text("."), O_RDONLY | sys.O_DIRECTORY | O_CLOEXEC, 0), "openat");
  const listing = new Listing(sys);
  const found: Entry[] = [];
  try {
    while (check(listing.read(own), "getdents64") > 0)
      while (listing.next()) found.push({ name: listing.copyName(), type: listing.type });
  } finally {
    sys.close(own);
  }
  return found.sort((a, b) => a.name.compare(b.name));
}

/** Counts names by the inode that they lead to. */
export class NameCounter {
  readonly #kernel: Kernel;
  readonly #counts = new Map<bigint, number>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  of(ino: bigint): number {
    return this.#counts.get(ino) ?? 0;
  }

  /** All in the directory and below; -1: there is none. @throws SysError */
  addDirectory(fd: number): this {
    for (const { name, type } of listDirectory(this.#kernel, fd)) this.add(fd, name, type);
    return this;
  }

  /** The name, or all below it. @throws SysError */
  add(dirFd: number, name: Buffer, type: number): void {
    const { sys, scratch } = this.#kernel;
    const stat = new Stat(sys);
    if (type !== DT_DIR) {
      check(sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
      if (!stat.isDirectory) {
        this.#counts.set(stat.ino, this.of(stat.ino) + 1);
        return;
      }
    }
    const fd = openDirectory(this.#kernel, dirFd, name);
    try {
      this.addDirectory(fd);
    } finally {
      sys.close(fd);
    }
  }
}
