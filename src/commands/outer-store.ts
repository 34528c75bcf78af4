import type { Kernel } from "../sys/files.ts";
import { isDirectoryAt } from "../tree/path.ts";
import { nearestWith } from "../tree/reach.ts";
import { STORE_NAME } from "../../store/store.ts";
import type { Notice, Root } from "./preflight.ts";

/** One snapshot of a target, typed in the target's place, gets a store that knows nothing of the one it is in. */
export function aboutOuterStore(kernel: Kernel, target: Root): Notice[] {
  if (isDirectoryAt(kernel, target.fd, STORE_NAME)) return [];
  const path = nearestWith(kernel, target, STORE_NAME);
  if (path === undefined) return [];
  const outer = path || "another target";
  const message = `the target ${target.path} lies inside ${outer}, which has a store of its own: one made here knows nothing of that one. To use that one, name ${outer}`;
  return [{ level: "warning", code: "STORE_ABOVE", message }];
}
