import { AT_SYMLINK_NOFOLLOW, RENAME_EXCHANGE } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Ref } from "../../store/store.ts";
import { XattrCalls, readAttributes } from "../tree/attributes.ts";
import { EntryFailure, onTarget } from "../work/errors.ts";
import { isInode } from "../relink/inode-state.ts";
import { pathOf, refOf } from "./damaged.ts";
import type { Examined, Examiner } from "./examine.ts";

type Other = Extract<Examined, { type: "other" }>;

const MOST_SIBLINGS = 1000;

/**
 * Gives an inode that lies under another content's name the name that it should have. No snapshot is touched: what its
 * names lead to is what they always led to.
 * @returns the path of its new name. @throws EntryFailure, RunFailure
 */
export function renameObject(
  kernel: Kernel,
  { objectsFd, examiner }: { objectsFd: number; examiner: Examiner },
  { digest, variant, inode }: Other,
): Buffer {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const wrong = new Ref(sys).setBytes(inode.ref);
  const group = Buffer.from(wrong.bytes.subarray(40, 48));
  const right = new Ref(sys).setObject(
    digest,
    variant,
    group.every((byte) => byte === 0) ? undefined : group,
  );
  for (; right.sibling < MOST_SIBLINGS; right.sibling++) {
    const fanOut = sys.mkdirat(objectsFd, scratch.text(right.text.slice(0, 2)), 0o700);
    if (fanOut !== -errno.EEXIST) onTarget(fanOut, "mkdirat");
    const linked = sys.linkat(objectsFd, wrong.format(), objectsFd, right.format(), 0);
    if (linked !== -errno.EEXIST) onTarget(linked, "linkat");
    onTarget(sys.statx(objectsFd, right.format(), AT_SYMLINK_NOFOLLOW, stat.address), "statx");
    if (isInode(stat, inode.state)) {
      onTarget(sys.unlinkat(objectsFd, wrong.format(), 0), "unlinkat");
      return pathOf(right);
    }
    if (isSound(kernel, examiner, right)) continue;
    const swapped = sys.renameat2(objectsFd, wrong.format(), objectsFd, right.format(), RENAME_EXCHANGE);
    onTarget(swapped, "renameat2");
    return pathOf(right);
  }
  throw new EntryFailure("EEXIST", "its right name is taken");
}

function isSound(kernel: Kernel, examiner: Examiner, ref: Ref): boolean {
  const fd = examiner.open(ref);
  try {
    const { sys, scratch } = kernel;
    const stat = statDescriptor(kernel, fd, new Stat(sys));
    const attributes = readAttributes(stat, new XattrCalls(sys, scratch), { fd });
    const digest = examiner.digest(fd, stat.sizeBytes);
    return digest?.equals(ref.digest) === true && examiner.variantOf(attributes).equals(ref.variant);
  } finally {
    kernel.sys.close(fd);
  }
}

/**
 * Gives an inode whose name in the store was deleted that name again.
 * @param from a name of it in the snapshots. @throws EntryFailure, RunFailure
 */
export function nameAgain(
  kernel: Kernel,
  { objectsFd, dirFd, leaf }: { objectsFd: number; dirFd: number; leaf: Buffer },
  { object, examiner }: { object: Buffer; examiner: Examiner },
): void {
  const { sys, scratch } = kernel;
  const ref = refOf(sys, object);
  if (ref === undefined) throw new EntryFailure("FOREIGN", "no run of dedupe gives such a name");
  const fanOut = sys.mkdirat(objectsFd, scratch.text(ref.text.slice(0, 2)), 0o700);
  if (fanOut !== -errno.EEXIST) onTarget(fanOut, "mkdirat");
  onTarget(sys.linkat(dirFd, scratch.at(leaf), objectsFd, ref.format(), 0), "linkat");
  if (isSound(kernel, examiner, ref)) return;
  onTarget(sys.unlinkat(objectsFd, ref.format(), 0), "unlinkat");
  throw new EntryFailure("CHANGED", "its content is not what the object held");
}
