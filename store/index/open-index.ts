import { isSysError } from "../../src/sys/errors.ts";
import { openRoot, type Kernel } from "../../src/sys/files.ts";
import { StoreError } from "../errors.ts";
import { IDENTITY_BYTES } from "../record.ts";
import { REF_BYTES } from "../ref.ts";
import { Index } from "./index.ts";
import { LOCK, reserveLock } from "./lock-file.ts";
import { isSoundAt } from "./soundness.ts";

/**
 * An index that cannot be opened or read is thrown away: it only ever saved reads (P9). Not where its lock alone finds
 * no room: to read everything again would cost a day for the sake of 32 KiB.
 */
export function openIndex(kernel: Kernel, path: string): { index: Index; isDiscarded: boolean } {
  try {
    return { index: openSoundIndex(kernel, path), isDiscarded: false };
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    try {
      discardIndex(kernel, path);
      return { index: openToWrite(kernel, path), isDiscarded: true };
    } catch (error) {
      if (error instanceof StoreError) throw error;
      throw new StoreError("STORE_INDEX", `the index in ${path} cannot be opened`, {
        hint: "Name a directory that can be written with --index.",
        cause,
      });
    }
  }
}

function openSoundIndex(kernel: Kernel, path: string): Index {
  if (!isSoundAt(kernel, path)) throw new Error("the index is damaged");
  const index = openToWrite(kernel, path);
  lookInto(index);
  return index;
}

/** Lookups go through the upper pages of the trees; what is damaged there throws here and not in the middle of a run. */
function lookInto(index: Index): void {
  index.source(Buffer.alloc(IDENTITY_BYTES), 0n);
  index.object(Buffer.alloc(REF_BYTES));
  index.hasSize(0);
  index.refresh();
}

/** Of an index that others are going to read. */
export async function isReadable(path: string): Promise<boolean> {
  let index: Index | undefined;
  try {
    index = Index.open(path, "read");
    lookInto(index);
    return true;
  } catch {
    return false;
  } finally {
    await index?.close();
  }
}

function openToWrite(kernel: Kernel, path: string): Index {
  const directory = openRoot(kernel, path);
  try {
    reserveLock(kernel, directory, LOCK);
  } catch (cause) {
    if (!isSysError(cause, "ENOSPC", "EDQUOT")) throw cause;
    throw new StoreError("STORE_INDEX", `there is no room for the index's ${LOCK}`, {
      hint: "Free some space (a snapshot that is deleted gives back what its directories take), then run again.",
      cause,
    });
  } finally {
    kernel.sys.close(directory);
  }
  return Index.open(path, "write");
}

function discardIndex(kernel: Kernel, path: string): void {
  const { sys, scratch } = kernel;
  const directory = openRoot(kernel, path);
  for (const file of ["data.mdb", LOCK]) sys.unlinkat(directory, scratch.text(file), 0);
  sys.close(directory);
}
