import { tmpdir } from "node:os";
import type { Kernel } from "../sys/files.ts";
import { usableSpace } from "../tree/identity.ts";
import { makeTemporary, type Temporary } from "../tree/temporary.ts";
import type { Store } from "../../store/store.ts";
import type { Root } from "./preflight.ts";

/** With less the target is left what it has. A planned change takes some hundred bytes. */
const PLANS_BYTES = 2 ** 24;

/**
 * A directory for what updates plan: a full target still takes links, renames and removals, but not the list of them.
 * @throws SysError
 */
export function placeForPlans(
  kernel: Kernel,
  target: Root,
  { directories }: Store,
): Pick<Temporary, "fd" | "remove"> {
  const { bytes } = usableSpace(kernel.sys, target.fd, kernel.sys.allocate(256));
  if (bytes < PLANS_BYTES) return makeTemporary(kernel, tmpdir(), "plans");
  return { fd: directories.logFd, remove: () => undefined };
}
