import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Sys } from "../sys/sys.ts";
import type { Attributes } from "../tree/attributes.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow } from "../tree/path.ts";
import { Ref } from "../../store/store.ts";

/** The inode of an object that does not hash to its name, as it is. Paths are from the root. */
export type DamagedInode = {
  object: Buffer;
  /** What its name says. */
  ref: Buffer;
  /** As relink's layout has it. */
  state: Uint32Array;
  attributes: Attributes;
  sizeBytes: number;
  links: number;
};

/** `outside`: further names that were not found below the root, and still lead to the damaged inode. */
export type Outcome =
  | {
      type: "restored";
      object: Buffer;
      from: Buffer;
      names: readonly Buffer[];
      outside: number;
      sizeBytes: number;
    }
  /** Its content was right, and the store's name for it wrong; or it had lost that name. */
  | { type: "renamed"; object: Buffer; to: Buffer }
  | { type: "unrepaired"; object: Buffer; code: string; message: string; names: readonly Buffer[] };

const objectPath =
  /^\.dedupe\/objects\/([0-9a-f]{2})\/([0-9a-f]{62})\.([0-9a-f]{16})(?:\.g([0-9a-f]{16}))?(?:\.([1-9][0-9]{0,8}))?$/;

/** What an object's path says; undefined where it is none. */
export function refOf(sys: Sys, path: Buffer): Ref | undefined {
  const match = objectPath.exec(path.toString("latin1"));
  if (match === null) return undefined;
  const [, first = "", rest = "", variant = "", group, sibling] = match;
  const hex = (text: string): Buffer => Buffer.from(text, "hex");
  const ref = new Ref(sys).setObject(
    hex(first + rest),
    hex(variant),
    group === undefined ? undefined : hex(group),
  );
  ref.sibling = Number(sibling ?? 0);
  return ref;
}

export const pathOf = (ref: Ref): Buffer => Buffer.from(`.dedupe/objects/${ref.text}`);

/** The names in objects/ of a content, whatever the variant: below objects/ and its two digits. @throws SysError */
export function namesOfContent(
  kernel: Kernel,
  objectsFd: number,
  digest: Uint8Array,
): { directory: string; names: Buffer[] } {
  const text = Buffer.from(digest).toString("hex");
  const [directory, prefix] = [text.slice(0, 2), `${text.slice(2)}.`];
  const fd = openBelow(kernel, objectsFd, Buffer.from(directory));
  if (fd < 0) return { directory, names: [] };
  try {
    const listing = new Listing(kernel.sys);
    const names: Buffer[] = [];
    while (check(listing.read(fd), "getdents64") > 0)
      while (listing.next()) {
        const name = listing.copyName();
        if (name.toString("latin1").startsWith(prefix)) names.push(name);
      }
    return { directory, names: names.sort((a, b) => a.compare(b)) };
  } finally {
    kernel.sys.close(fd);
  }
}
