import { F_RDLCK, F_UNLCK } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { SMALL_BYTES, blake3 } from "../../store/store.ts";
import { EntryFailure, fromSource } from "../work/errors.ts";
import { isStable, sameContentMoment, statOpen, unstable, type Moment } from "../work/source-file.ts";
import type { RelinkThread } from "./relink-thread.ts";

/** A file whose times stay younger than the clock's tick is being written to, or gets and loses names all the time. */
const LOOKS = 10;
/** Of whole seconds. */
const COARSE_LOOKS = 3;
/** A name that comes or goes moves the ctime as a write does: the second reading tells which it was. */
const READINGS = 4;

/** A write within the same tick of the clock as the last one leaves no trace in the times: wait until it is over. */
export function lookOld(thread: RelinkThread, fd: number): Moment {
  const { stat, control } = thread;
  for (let looks = 1; ; looks++) {
    const moment = statOpen(thread, fd, stat);
    const isCoarse = isWhole(moment.mtimeNs) && isWhole(moment.ctimeNs);
    const tickMs = isCoarse ? 1000 : 20;
    const youngest = moment.ctimeNs > moment.mtimeNs ? moment.ctimeNs : moment.mtimeNs;
    const ageMs = Date.now() - Number(youngest / 1_000_000n);
    if (ageMs > tickMs || ageMs < -tickMs) return moment;
    if (looks >= (isCoarse ? COARSE_LOOKS : LOOKS)) throw unstable();
    control.sleep(tickMs + 10);
  }
}

/** Where a lease cannot be had (another's file, a filesystem without them) nobody can tell. */
export function refuseOpenForWriting({ sys }: RelinkThread, fd: number): void {
  const result = sys.setLease(fd, F_RDLCK);
  if (result === -errno.EAGAIN) throw busy();
  if (result === 0) sys.setLease(fd, F_UNLCK);
}

/** The digest of a file that `lookOld` saw, and that is still so afterwards. @throws EntryFailure */
export function hashStable(thread: RelinkThread, fd: number, seen: Moment): Buffer {
  let before = seen;
  let lastDigest: Buffer | undefined;
  for (let reading = 0; reading < READINGS; reading++) {
    const digest = hashOnce(thread, fd, before.sizeBytes);
    const after = statOpen(thread, fd, thread.stat);
    if (digest === undefined || !sameContentMoment(before, after)) break;
    if (isStable(before, after, digest, lastDigest)) return digest;
    [before, lastDigest] = [after, digest];
  }
  throw unstable();
}

/** undefined: it has another size by now. */
function hashOnce({ content }: RelinkThread, fd: number, sizeBytes: number): Buffer | undefined {
  if (sizeBytes > SMALL_BYTES)
    return fromSource(() => content.copy({ fromFd: fd, toFd: -1, sizeBytes, isSource: true }));
  const bytes = fromSource(() => content.readSmall(fd, sizeBytes));
  return bytes === undefined ? undefined : blake3(bytes);
}

const isWhole = (timeNs: bigint): boolean => timeNs % 1_000_000_000n === 0n;

export function changed(): EntryFailure {
  return new EntryFailure("CHANGED", "someone changed it meanwhile; it was left alone");
}

export function busy(): EntryFailure {
  return new EntryFailure("BUSY", "it is open for writing; it was left alone");
}

/** Of what names were to lead to: nothing else takes its place in this run. */
export function busyWithEquals(): EntryFailure {
  return new EntryFailure("BUSY", "it is open for writing; it and its equals were left alone");
}

/** The time of a directory can be put back by its owner and by root alone. @throws EntryFailure */
export function refuseOthers(euid: number, owner: number): void {
  if (euid === 0 || euid === owner) return;
  throw new EntryFailure(
    "EPERM",
    "its modification time could not be put back, as it is another user's; its names were left alone",
  );
}
