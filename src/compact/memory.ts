import type { Stat } from "../sys/stat.ts";
import type { Ref, StoreSession } from "../../store/store.ts";
import { isLasting } from "../tree/identity.ts";
import type { RelinkThread } from "../relink/relink-thread.ts";

/** Whether the index has the object's inode with the size and time that `stat` has: then its content is known. */
export function isRemembered(session: StoreSession, ref: Ref, stat: Stat): boolean {
  const row = session.sealed(ref);
  if (row === undefined) return false;
  return row.ino === stat.ino && row.sizeBytes === stat.sizeBytes && row.mtimeNs === stat.mtimeNs;
}

/** The row of the object whose inode `thread.stat` describes: after the seal nobody has to hash it again. */
export function rememberObject(thread: RelinkThread, session: StoreSession, ref: Ref): void {
  const { stat, rules, generations } = thread;
  const isNamed = isLasting(rules.identity);
  const generation = isNamed ? generations.of(session.fdOf("objects"), ref.format()) : 0;
  const { ino, sizeBytes, mtimeNs, ctimeNs } = stat;
  const source = { ino, generation, sizeBytes, mtimeNs, ctimeNs };
  session.record({ identity: rules.identity, source, target: source, ref: ref.bytes });
}
