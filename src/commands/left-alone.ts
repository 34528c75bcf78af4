import { STORE_NAME } from "../../store/store.ts";
import type { Failure } from "../work/messages.ts";

const storePrefix = Buffer.from(`${STORE_NAME}/`);
const othersAtWork = new Set(["CHANGED", "BUSY", "UNSTABLE"]);

/**
 * Whether a snapshot tool that works beside a compact has just replaced the name, moved its directory, or is writing to
 * it. That is as it should be: the inode has no name in the store, so the next run meets it as a new one.
 */
export function isLeftAlone({ path, code }: Failure): boolean {
  return othersAtWork.has(code) && !path.subarray(0, storePrefix.length).equals(storePrefix);
}
