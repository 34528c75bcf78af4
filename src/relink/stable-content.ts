import { F_RDLCK, F_UNLCK } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { SMALL_BYTES, blake3 } from "../../store/store.ts";
import { EntryFailure, fromSource } from "../work/errors.ts";
import { sameContentMoment, statOpen, unstable, type Moment } from "../work/source-file.ts";
import type { RelinkThread } from "./relink-thread.ts";

/** A file whose times stay younger than the clock's tick is being written to. */
const LOOKS = 3;

/** A write within the same tick of the clock as the last one leaves no trace in the times: wait until it is over. */
export function lookOld(thread: RelinkThread, fd: number): Moment {
  const { stat, control } = thread;
  for (let look = 0; look < LOOKS; look++) {
    const moment = statOpen(thread, fd, stat);
    const tickMs = isWhole(moment.mtimeNs) && isWhole(moment.ctimeNs) ? 1000 : 20;
    const youngest = moment.ctimeNs > moment.mtimeNs ? moment.ctimeNs : moment.mtimeNs;
    const ageMs = Date.now() - Number(youngest / 1_000_000n);
    if (ageMs > tickMs || ageMs < -tickMs) return moment;
    control.sleep(tickMs + 10);
  }
  throw unstable();
}

/** Where a lease cannot be had (another's file, a filesystem without them) nobody can tell. */
export function refuseOpenForWriting({ sys }: RelinkThread, fd: number): void {
  const result = sys.setLease(fd, F_RDLCK);
  if (result === -errno.EAGAIN) throw busy();
  if (result === 0) sys.setLease(fd, F_UNLCK);
}

/** The digest of a file that `lookOld` saw, and that is still so afterwards. @throws EntryFailure */
export function hashStable(thread: RelinkThread, fd: number, before: Moment): Buffer {
  const { content, stat } = thread;
  const { sizeBytes } = before;
  let digest: Buffer | undefined;
  if (sizeBytes <= SMALL_BYTES) {
    const bytes = fromSource(() => content.readSmall(fd, sizeBytes));
    digest = bytes === undefined ? undefined : blake3(bytes);
  } else digest = fromSource(() => content.copy({ fromFd: fd, toFd: -1, sizeBytes, isSource: true }));
  const after = statOpen(thread, fd, stat);
  if (digest === undefined || !sameContentMoment(before, after) || before.ctimeNs !== after.ctimeNs)
    throw unstable();
  return digest;
}

const isWhole = (timeNs: bigint): boolean => timeNs % 1_000_000_000n === 0n;

export function changed(): EntryFailure {
  return new EntryFailure("CHANGED", "someone changed it meanwhile; it was left alone");
}

export function busy(): EntryFailure {
  return new EntryFailure("BUSY", "it is open for writing; it was left alone");
}

/** The time of a directory can be put back by its owner and by root alone. @throws EntryFailure */
export function refuseOthers(euid: number, owner: number): void {
  if (euid === 0 || euid === owner) return;
  throw new EntryFailure(
    "EPERM",
    "its modification time could not be put back, as it is another user's; its names were left alone",
  );
}
