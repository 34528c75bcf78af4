import { DedupeError } from "../errors.ts";
import type { RelinkOptions } from "../options.ts";
import { isSysError } from "../sys/errors.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { STORE_NAME, existingPolicy } from "../../store/store.ts";
import { targetRefusal, type Root } from "./preflight.ts";

/** The store's own policy, whatever it is: what was ignored does not matter any more. */
export function withPolicy(kernel: Kernel, root: Root, options: RelinkOptions): RelinkOptions {
  let storeFd: number;
  try {
    storeFd = openDirectory(kernel, root.fd, STORE_NAME);
  } catch (cause) {
    if (!isSysError(cause, "ENOENT")) throw targetRefusal(cause, root.path);
    throw new DedupeError("NO_STORE", `${root.path} has no store, and so no log of what was discarded`, {
      hint: "Name the root that was given to dedupe relink.",
      cause,
    });
  }
  try {
    return { ...options, ...existingPolicy(kernel, storeFd) };
  } catch (error) {
    throw targetRefusal(error, root.path);
  } finally {
    kernel.sys.close(storeFd);
  }
}

/** Such a store keeps apart what relink is asked to make one. @throws DedupeError, SysError, StoreError */
export function refuseUnmerged(kernel: Kernel, root: Root, options: Pick<RelinkOptions, "merge">): void {
  let storeFd: number;
  try {
    storeFd = openDirectory(kernel, root.fd, STORE_NAME);
  } catch {
    return;
  }
  try {
    if (options.merge === "none" || existingPolicy(kernel, storeFd)?.merge !== "none") return;
  } finally {
    kernel.sys.close(storeFd);
  }
  throw new DedupeError(
    "STORE_POLICY",
    `${root.path} was made by migrate --merge none: its store keeps equal files apart, and relink would make one of them`,
    {
      hint: `If that is wanted, remove ${STORE_NAME} from it (the snapshots stay as they are) and run again.`,
    },
  );
}
