import { AT_SYMLINK_NOFOLLOW, DT_REG, DT_UNKNOWN, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { StoreSession } from "../../store/store.ts";
import { Listing } from "../tree/listing.ts";
import { ProcPaths } from "../tree/proc-paths.ts";
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

type Place = { kind: "object" | "held"; parent: "objects" | "groups"; directory: string; fd: number };

/** Looks at every inode of the store once, and takes down those that something is to be done about. */
export class ObjectScanner {
  readonly #thread: RelinkThread;
  readonly #session: StoreSession;
  readonly #teller: Teller;
  readonly #listing: Listing;
  readonly #proc = new ProcPaths();
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
    const listing = this.#listing;
    const entries = this.#list(place);
    this.#proc.enter(place.fd);
    const bases = new Set<string>();
    for (const entry of entries) {
      listing.position = entry;
      const wrong = this.#parse(place);
      if (wrong !== undefined) {
        // Told when everything is looked at; a scan for links comes after that.
        if (task.looksAt === "everything")
          this.#teller.finding({ path: pathIn(place, listing), class: wrong });
        continue;
      }
      const { stat, ref } = this.#thread;
      if (!this.#look(place)) continue;
      this.#teller.known(stat.inoLow, stat.inoHigh);
      this.#count(place);
      if (ref.kind === "object" && ref.sibling > 0) bases.add(baseOf(listing));
      this.#judge(place, task);
    }
    if (bases.size > 0 && task.looksAt === "everything") this.#takeSiblings(place, entries, bases);
  }

  /** Positions in the listing. */
  #list({ fd, parent, directory }: Place): number[] {
    const listing = this.#listing;
    const entries: number[] = [];
    onTarget(listing.readWhole(fd), "getdents64", `.dedupe/${parent}/${directory}`);
    while (listing.next()) entries.push(listing.position);
    return entries.sort((a, b) => listing.compareInodes(a, b));
  }

  /** Parses the listing's name into `thread.ref`. @returns what is wrong with it */
  #parse({ kind, directory }: Place): "foreign" | "object-type" | undefined {
    const { nameBytes, type } = this.#listing;
    if (!this.#thread.ref.parse(kind, directory, nameBytes)) return "foreign";
    return kind === "held" || type === DT_REG || type === DT_UNKNOWN ? undefined : "object-type";
  }

  #look(place: Place): boolean {
    const { sys, stat } = this.#thread;
    const looked = sys.statx(place.fd, this.#listing.nameAddress, AT_SYMLINK_NOFOLLOW, stat.address);
    if (looked === 0) return true;
    if (looked === -errno.ENOENT) return false;
    return this.#thread.attempt(
      () => pathIn(place, this.#listing),
      () => onTarget(looked, "statx"),
    );
  }

  #count({ kind }: Place): void {
    if (kind === "object") this.#teller.counts.objects++;
    else {
      this.#teller.counts.holders++;
      this.#teller.holder(this.#thread.stat.inoLow, this.#thread.stat.inoHigh);
    }
  }

  /** Of the inode that `thread.stat` describes and the name that `thread.ref` has. */
  #judge(place: Place, { looksAt, prunes }: OwnTask & { type: "scan" }): void {
    const { stat } = this.#thread;
    if (stat.nlink === 1 && prunes) this.#take(UNNAMED);
    else if (looksAt === "everything") {
      const isFilled = place.kind === "held" && stat.isRegular && stat.sizeBytes > 0;
      const kind = place.kind === "object" ? this.#kindOf() : isFilled ? MOVED : undefined;
      if (kind !== undefined) this.#take(kind);
    }
  }

  #kindOf(): number | undefined {
    const { stat, ref, rules, xattrs } = this.#thread;
    const variant = variantOfStat(stat, rules.compared, () => {
      return xattrs.read({ path: this.#proc.pathOf(this.#listing) });
    });
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
  #takeSiblings(place: Place, entries: readonly number[], bases: ReadonlySet<string>): void {
    for (const entry of entries) {
      this.#listing.position = entry;
      // Also what is no regular file: a group that it belongs to is not folded.
      if (this.#parse(place) === "foreign") continue;
      if (bases.has(baseOf(this.#listing)) && this.#look(place)) this.#take(SIBLING);
    }
  }
}

/** An object's name without its sibling's number, which has no more than nine digits. */
const baseOf = (listing: Listing): string =>
  listing
    .copyName()
    .toString("latin1")
    .replace(/\.[0-9]{1,9}$/, "");

const pathIn = ({ parent, directory }: Place, listing: Listing): Buffer =>
  Buffer.concat([Buffer.from(`.dedupe/${parent}/${directory}/`), listing.copyName()]);
