import { blake3 } from "../../store/store.ts";

/** Where a unit is staged: the same in the next run, so that what was built is found again. */
export function stagedName(path: Buffer): Buffer {
  return Buffer.from(`s${blake3(path).toString("hex", 0, 16)}`);
}

/** What stands for a container until it is made; swept by the next run when this one dies. */
export function emptyName(path: Buffer): Buffer {
  return Buffer.from(`c${blake3(path).toString("hex", 0, 16)}`);
}
