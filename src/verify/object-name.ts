import { blake3 } from "../../store/hash/blake3.ts";
import type { ComparedAttributes } from "./compare.ts";
import type { Facts } from "./inode-reader.ts";

/** What a name in objects/ says. Digest and variant in hex. */
export type ObjectName = { digest: string; variant: string };

/** docs/store-format.md, "Names": digest, variant, perhaps a group, perhaps a sibling's number. */
const objectName =
  /^(?<rest>[0-9a-f]{62})\.(?<variant>[0-9a-f]{16})(?:\.g(?!0{16})[0-9a-f]{16})?(?:\.[1-9][0-9]{0,8})?$/;
const holderName = /^[0-9a-f]{14}(?:\.[1-9][0-9]{0,8})?$/;
export const fanOutName = /^[0-9a-f]{2}$/;

/** undefined: no run of dedupe gives such a name. */
export function parseObjectName(directory: string, name: string): ObjectName | undefined {
  const groups = objectName.exec(name)?.groups;
  return groups === undefined
    ? undefined
    : { digest: `${directory}${groups["rest"] ?? ""}`, variant: groups["variant"] ?? "" };
}

export const isHolderName = (name: string): boolean => holderName.test(name);

/** Whether the object belongs to slice `number` of `of`: by the first 32 bits of its digest. */
export function isInSlice(
  { digest }: ObjectName,
  slice: { number: number; of: number } | undefined,
): boolean {
  if (slice === undefined) return true;
  return Math.floor((Number.parseInt(digest.slice(0, 8), 16) * slice.of) / 2 ** 32) === slice.number - 1;
}

const NS_PER_SECOND = 1_000_000_000n;

/** The variant of an inode's attributes in hex: docs/store-format.md, "The canonical record", put down anew. */
export function variantText(facts: Facts, compared: ComparedAttributes): string {
  const fixed = Buffer.alloc(32);
  fixed.writeUInt32LE(
    Number(compared.mode) +
      2 * Number(compared.owner) +
      4 * Number(compared.time) +
      8 * Number(compared.xattrs),
    0,
  );
  if (compared.mode) fixed.writeUInt32LE(facts.mode, 4);
  if (compared.owner) {
    fixed.writeUInt32LE(facts.uid, 8);
    fixed.writeUInt32LE(facts.gid, 12);
  }
  if (compared.time) {
    const nanoseconds = ((facts.mtimeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
    fixed.writeBigInt64LE((facts.mtimeNs - nanoseconds) / NS_PER_SECOND, 16);
    fixed.writeUInt32LE(Number(nanoseconds), 24);
  }
  const xattrs = compared.xattrs ? facts.xattrs : [];
  fixed.writeUInt32LE(xattrs.length, 28);
  const parts = xattrs.flat().flatMap((text) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    return [length, Buffer.from(text, "latin1")];
  });
  return blake3(Buffer.concat([fixed, ...parts])).toString("hex", 0, 8);
}
