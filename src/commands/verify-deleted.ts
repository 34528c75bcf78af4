import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { errno, isSysError } from "../sys/errors.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { NO_OBJECT, Ref, objectHints, type ObjectHint } from "../../store/store.ts";
import { ContentReader } from "../verify/content-reader.ts";
import { Changed, InodeReader } from "../verify/inode-reader.ts";
import { DeviceInodes, InodeSet } from "../verify/inode-set.ts";
import type { Finding, StoreRules } from "../verify/messages.ts";
import { isInSlice, variantText } from "../verify/object-name.ts";
import { tellFinding, type VerifyRun } from "./verify-run.ts";
import type { ReadStore } from "./verify-target.ts";

/** Inodes that wait to be told: what one look through the index is for. */
const MOST_HELD = 200_000;
const MOST_KEPT = 500_000;

/**
 * Tells the inodes that others wrote from those whose object was deleted. The index says which inodes were objects
 * once; of one that has no name in the store any more, its own size, time, attributes and content prove it. What
 * cannot be proven so is new since the last run.
 */
export class Strangers {
  readonly #run: VerifyRun;
  readonly #rules: StoreRules;
  readonly #store: ReadStore;
  readonly #reader: InodeReader;
  readonly #stat: Stat;
  readonly #met = new DeviceInodes();
  #held: Finding[] = [];
  /** What was told as new since, for --repair, which may find contents there. */
  readonly paths: Buffer[] = [];
  /** Objects that were deleted, each with a name of its inode. */
  readonly deleted: { object: Buffer; path: Buffer }[] = [];

  constructor(run: VerifyRun, rules: StoreRules, store: ReadStore) {
    this.#run = run;
    this.#rules = rules;
    this.#stat = new Stat(run.kernel.sys);
    this.#store = store;
    this.#reader = new InodeReader(run.kernel, new ContentReader(run.kernel.sys, () => undefined));
  }

  /** Threads in different snapshots meet the same inode: it is told once. */
  add(finding: Finding): void {
    const { pending } = finding;
    if (pending !== undefined && !this.#met.add(pending)) return;
    this.#held.push(finding);
    if (this.#held.length >= MOST_HELD) this.tell();
  }

  /** @throws SysError where the index cannot be read */
  tell(): void {
    const held = this.#held;
    this.#held = [];
    if (held.length === 0) return;
    const hints = this.#hintsOf(held);
    for (const finding of held) {
      const object = this.#provenObject(finding, hints.get(keyOf(finding.pending)) ?? []);
      if (object === undefined) {
        tellFinding(this.#run, finding, "note");
        if (this.#run.options.repair && this.paths.length < MOST_KEPT) this.paths.push(finding.path);
        continue;
      }
      const target = finding.path.toString("latin1");
      tellFinding(this.#run, { path: object, class: "deleted", target }, "finding");
      if (this.#run.options.repair) this.deleted.push({ object, path: finding.path });
    }
  }

  /** By inode. The index speaks of the target's filesystem alone. */
  #hintsOf(held: readonly Finding[]): Map<string, ObjectHint[]> {
    const { device } = this.#rules.root;
    const wanted = new InodeSet();
    for (const { pending } of held)
      if (pending?.device === device) wanted.add(pending.inoLow, pending.inoHigh);
    const hints = new Map<string, ObjectHint[]>();
    const indexFd = openIndex(this.#run.kernel, this.#store);
    if (indexFd < 0) return hints;
    for (const { ref, target } of objectHints(this.#run.kernel, indexFd)) {
      const [inoLow, inoHigh] = [Number(target.ino & 0xffffffffn), Number(target.ino >> 32n)];
      if (!wanted.has(inoLow, inoHigh)) continue;
      const key = keyOf({ device, inoLow, inoHigh });
      // The row lies in a buffer that is filled again.
      const hint = { ref: Buffer.from(ref), target };
      hints.set(key, [...(hints.get(key) ?? []), hint]);
    }
    this.#run.kernel.sys.close(indexFd);
    return hints;
  }

  #provenObject({ path }: Finding, hints: readonly ObjectHint[]): Buffer | undefined {
    if (hints.length === 0) return undefined;
    const { parent, name } = parentAndName(path);
    const dirFd = openBelow(this.#run.kernel, this.#rules.root.fd, parent);
    if (dirFd < 0) return undefined;
    try {
      const opened = this.#reader.open(dirFd, name.toString("latin1"));
      try {
        const found = hints.find((hint) => this.#isProven(opened, hint));
        return found === undefined ? undefined : Buffer.from(`.dedupe/objects/${this.#refOf(found).text}`);
      } finally {
        this.#reader.close(opened);
      }
    } catch (error) {
      if (error instanceof Changed || isSysError(error)) return undefined;
      throw error;
    } finally {
      this.#run.kernel.sys.close(dirFd);
    }
  }

  #refOf({ ref }: ObjectHint): Ref {
    return new Ref(this.#run.kernel.sys).setBytes(ref);
  }

  #isProven(opened: ReturnType<InodeReader["open"]>, hint: ObjectHint): boolean {
    const { facts } = opened;
    const { compared, depth, slice, objectsFd } = this.#rules;
    const ref = this.#refOf(hint);
    const { target } = hint;
    const isSame =
      target.ino === (BigInt(facts.inoHigh) << 32n) + BigInt(facts.inoLow) &&
      target.sizeBytes === facts.sizeBytes &&
      target.mtimeNs === facts.mtimeNs;
    if (!isSame || ref.kind !== "object" || ref.sibling === NO_OBJECT) return false;
    const { sys } = this.#run.kernel;
    const name = ref.format();
    const there =
      objectsFd < 0 ? -errno.ENOENT : sys.statx(objectsFd, name, AT_SYMLINK_NOFOLLOW, this.#stat.address);
    if (there !== -errno.ENOENT) return false;
    const [digest, variant] = [ref.digest, ref.variant].map((bytes) => Buffer.from(bytes).toString("hex"));
    if (variantText(facts, compared) !== variant) return false;
    const isRead = depth === "contents" && isInSlice({ digest: digest ?? "", variant }, slice);
    return !isRead || this.#reader.content(opened, "device").toString("hex") === digest;
  }
}

function keyOf(inode: Finding["pending"]): string {
  return [inode?.device, inode?.inoHigh, inode?.inoLow].join(":");
}

/** The directory of the index on the target; -1 where there is none. */
export function openIndex(kernel: Kernel, { fd, index }: Pick<ReadStore, "fd" | "index">): number {
  if (index === "missing" || index === "unreadable") return -1;
  try {
    return openDirectory(kernel, fd, "index");
  } catch (error) {
    if (isSysError(error)) return -1;
    throw error;
  }
}
