import { AT_SYMLINK_NOFOLLOW, DT_REG, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { StoreSession } from "../../store/store.ts";
import { procPath } from "../tree/apply.ts";
import { Listing } from "../tree/listing.ts";
import { onTarget } from "../work/errors.ts";
import type { RelinkThread } from "../relink/relink-thread.ts";
import { RunSorter, type Run } from "../relink/sorter.ts";
import { variantOfStat } from "../relink/variant.ts";
import {
  BLOCKS_HIGH,
  INO_HIGH,
  INO_LOW,
  KIND,
  MOVED,
  NLINK,
  REF,
  SIBLING,
  UNINDEXED,
  UNNAMED,
  attentionLayout,
} from "./attention.ts";
import { isRemembered } from "./memory.ts";
import type { OwnTask } from "./messages.ts";
import type { Teller } from "./teller.ts";

type Entry = { name: string; inoLow: number; inoHigh: number; type: number };
type Place = { kind: "object" | "held"; parent: "objects" | "groups"; directory: string; fd: number };

/** Looks at every inode of the store once, and takes down those that something is to be done about. */
export class ObjectScanner {
  readonly #thread: RelinkThread;
  readonly #session: StoreSession;
  readonly #teller: Teller;
  readonly #listing: Listing;
  readonly #sorter: RunSorter;

  constructor(thread: RelinkThread, session: StoreSession, teller: Teller) {
    this.#thread = thread;
    this.#session = session;
    this.#teller = teller;
    this.#listing = new Listing(thread.sys);
    const sortFd = thread.files.sortFds[thread.worker] as number;
    this.#sorter = new RunSorter(thread.sys, sortFd, attentionLayout);
  }

  finish(): Run[] {
    return this.#sorter.finish();
  }

  /** @throws RunFailure, Stopped */
  run(task: OwnTask & { type: "scan" }): void {
    for (const directory of task.objects) this.#directory("objects", directory, task);
    for (const directory of task.groups) this.#directory("groups", directory, task);
  }

  #directory(parent: "objects" | "groups", directory: string, task: OwnTask & { type: "scan" }): void {
    this.#thread.checkStop();
    const { sys, scratch } = this.#thread;
    const path = Buffer.from(`.dedupe/${parent}/${directory}`);
    this.#thread.attempt(
      () => path,
      () => {
        const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW | sys.O_DIRECTORY;
        const parentFd = this.#session.fdOf(parent);
        const fd = onTarget(sys.openat(parentFd, scratch.text(directory), flags, 0), "openat", path);
        const kind = parent === "objects" ? "object" : "held";
        try {
          this.#entries({ kind, parent, directory, fd }, task);
        } finally {
          sys.close(fd);
        }
      },
    );
  }

  /** In inode order: on spinning disks that is the order in which inodes lie. */
  #entries(place: Place, task: OwnTask & { type: "scan" }): void {
    const entries = this.#list(place).sort((a, b) => a.inoHigh - b.inoHigh || a.inoLow - b.inoLow);
    const found: number[] = [];
    const bases = new Set<string>();
    for (const entry of entries) {
      const wrong = this.#parse(place, entry);
      if (wrong !== undefined) {
        // Told when everything is looked at; a scan for links comes after that.
        if (task.looksAt === "everything") this.#teller.finding({ path: pathIn(place, entry), class: wrong });
        continue;
      }
      const { stat, ref } = this.#thread;
      const looked = this.#look(place, entry);
      if (!looked) continue;
      found.push(stat.inoLow, stat.inoHigh);
      this.#count(place);
      if (ref.kind === "object" && ref.sibling > 0) bases.add(baseOf(entry.name));
      this.#judge(place, entry, task);
    }
    this.#teller.tell({ type: "inodes", set: "known", inodes: Uint32Array.from(found) });
    if (bases.size > 0 && task.looksAt === "everything") this.#takeSiblings(place, entries, bases);
  }

  #list({ fd, parent, directory }: Place): Entry[] {
    const listing = this.#listing;
    const entries: Entry[] = [];
    const path = `.dedupe/${parent}/${directory}`;
    while (onTarget(listing.read(fd), "getdents64", path) > 0) {
      while (listing.next()) {
        const { inoLow, inoHigh, type } = listing;
        entries.push({ name: listing.copyName().toString("latin1"), inoLow, inoHigh, type });
      }
    }
    return entries;
  }

  /** Parses the name into `thread.ref`. @returns what is wrong with it */
  #parse({ kind, directory }: Place, { name, type }: Entry): "foreign" | "object-type" | undefined {
    if (!this.#thread.ref.parse(kind, directory, name)) return "foreign";
    return kind === "held" || type === DT_REG || type === 0 ? undefined : "object-type";
  }

  #look(place: Place, entry: Entry): boolean {
    const { sys, scratch, stat } = this.#thread;
    const at = scratch.at(Buffer.from(entry.name, "latin1"));
    const looked = sys.statx(place.fd, at, AT_SYMLINK_NOFOLLOW, stat.address);
    if (looked === -errno.ENOENT) return false;
    return this.#thread.attempt(
      () => pathIn(place, entry),
      () => onTarget(looked, "statx"),
    );
  }

  #count({ kind }: Place): void {
    if (kind === "object") this.#teller.counts.objects++;
    else this.#teller.counts.holders++;
  }

  /** Of the inode that `thread.stat` describes and the name that `thread.ref` has. */
  #judge(place: Place, { name }: Entry, { looksAt, prunes }: OwnTask & { type: "scan" }): void {
    const { stat } = this.#thread;
    if (stat.nlink === 1 && prunes) this.#take(UNNAMED);
    else if (looksAt === "everything") {
      const isFilled = place.kind === "held" && stat.isRegular && stat.sizeBytes > 0;
      const kind = place.kind === "object" ? this.#kindOf(place.fd, name) : isFilled ? MOVED : undefined;
      if (kind !== undefined) this.#take(kind);
    }
  }

  #kindOf(dirFd: number, name: string): number | undefined {
    const { stat, ref, rules, xattrs } = this.#thread;
    const path = procPath(dirFd, Buffer.from(name, "latin1"));
    const variant = variantOfStat(stat, rules.compared, () => xattrs.read({ path }));
    const isKnown = isRemembered(this.#session, ref, stat);
    const isVariant = variant.equals(ref.variant);
    if (isKnown && isVariant) return undefined;
    const isChanged = !isVariant || this.#session.sealed(ref)?.ino === stat.ino;
    return isChanged || stat.sizeBytes === 0 ? MOVED : UNINDEXED;
  }

  #take(kind: number): void {
    const { stat, ref } = this.#thread;
    const record = this.#sorter.next();
    record[KIND] = kind;
    record.set(ref.words, REF);
    record[INO_HIGH] = stat.inoHigh;
    record[INO_LOW] = stat.inoLow;
    record[NLINK] = stat.nlink;
    record[BLOCKS_HIGH] = Math.floor(stat.blocks / 0x100000000);
    record[BLOCKS_HIGH + 1] = stat.blocks >>> 0;
  }

  /** All inodes of an object that has more than one, or whose only one is not the first by number. */
  #takeSiblings(place: Place, entries: readonly Entry[], bases: ReadonlySet<string>): void {
    for (const entry of entries) {
      if (!this.#thread.ref.parse(place.kind, place.directory, entry.name)) continue;
      if (bases.has(baseOf(entry.name)) && this.#look(place, entry)) this.#take(SIBLING);
    }
  }
}

/** An object's name without its sibling's number, which has no more than nine digits. */
const baseOf = (name: string): string => name.replace(/\.[0-9]{1,9}$/, "");

const pathIn = ({ parent, directory }: Place, { name }: Entry): Buffer =>
  Buffer.from(`.dedupe/${parent}/${directory}/${name}`, "latin1");
