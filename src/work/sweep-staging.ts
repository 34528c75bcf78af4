import { RENAME_NOREPLACE, SEEK_SET } from "../sys/constants.ts";
import { check, errno, isSysError } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Listing } from "../tree/listing.ts";
import { joined } from "../tree/path.ts";
import { removeTree } from "../tree/remove.ts";
import { STORE_NAME } from "../../store/store.ts";
import { entryFailure } from "./errors.ts";
import type { Failure } from "./messages.ts";
import { isStranger } from "./staged-name.ts";

/** Removes all but the `wanted` names (Latin-1). @returns what stays, by its path. @throws RunFailure, SysError */
export function sweepStaging(kernel: Kernel, stagingFd: number, wanted: ReadonlySet<string>): Failure[] {
  const listing = new Listing(kernel.sys);
  const names: Buffer[] = [];
  kernel.sys.lseek(stagingFd, 0, SEEK_SET);
  while (check(listing.read(stagingFd), "getdents64", `${STORE_NAME}/staging`) > 0)
    while (listing.next()) names.push(listing.copyName());
  return names
    .filter((name) => !wanted.has(name.toString("latin1")))
    .flatMap((name) => sweepAway(kernel, stagingFd, name));
}

/**
 * What an immutable file, a mount or another user's directory holds gets a name that no run makes, and is tried again by
 * the next one.
 */
function sweepAway(kernel: Kernel, stagingFd: number, name: Buffer): Failure[] {
  if (isStranger(kernel, stagingFd, name)) {
    const message = "it came under a name that was to be removed or replaced: move it to where it belongs";
    return [{ path: pathOf(name), code: "CHANGED", message }];
  }
  try {
    removeTree(kernel, stagingFd, name);
    return [];
  } catch (error) {
    if (!isSysError(error, "EPERM", "EACCES", "EBUSY", "ENOTEMPTY")) throw error;
    const { code, message } = entryFailure(error, "target");
    return [{ path: pathOf(putAside(kernel, stagingFd, name)), code, message }];
  }
}

function pathOf(name: Buffer): Buffer {
  return joined(Buffer.from(`${STORE_NAME}/staging`), name);
}

/** @returns the name it has now */
function putAside({ sys, scratch }: Kernel, stagingFd: number, name: Buffer): Buffer {
  if (name.toString("latin1").startsWith("left.")) return name;
  for (let number = 0; ; number++) {
    const aside = Buffer.from(`left.${String(number)}`);
    const from = Buffer.from(name);
    const result = sys.renameat2(stagingFd, scratch.at(from), stagingFd, scratch.at(aside), RENAME_NOREPLACE);
    if (result === 0) return aside;
    if (result !== -errno.EEXIST) return name;
  }
}
