import { describe, expect, it } from "vitest";
import { VARIANT_BYTES, variantOf, type VariantRecord } from "../../store/variant.ts";

const plain: VariantRecord = { mode: 0o644, owner: { uid: 0, gid: 0 }, mtimeNs: 1n, xattrs: [] };
const xattr = (name: string, value: string) => ({ name: Buffer.from(name), value: Buffer.from(value) });

describe("a variant", () => {
  it("is the same for the same attributes", () => {
    expect(variantOf(plain)).toHaveLength(VARIANT_BYTES);
    expect(variantOf({ ...plain }).equals(variantOf(plain))).toBe(true);
  });

  it("differs where one attribute differs, is not compared, or is divided otherwise", () => {
    const records: VariantRecord[] = [
      plain,
      { ...plain, mode: 0o645 },
      { ...plain, mode: 0 },
      { ...plain, mode: undefined },
      { ...plain, owner: { uid: 1, gid: 0 } },
      { ...plain, owner: { uid: 0, gid: 1 } },
      { ...plain, owner: { uid: 4_294_967_295, gid: 0 } },
      { ...plain, owner: undefined },
      { ...plain, mtimeNs: 0n },
      { ...plain, mtimeNs: -1n },
      { ...plain, mtimeNs: 999_999_999n },
      { ...plain, mtimeNs: 1_000_000_000n },
      { ...plain, mtimeNs: 18_446_744_073_000_000_001n },
      { ...plain, mtimeNs: undefined },
      { ...plain, xattrs: undefined },
      { ...plain, xattrs: [xattr("user.a", "")] },
      { ...plain, xattrs: [xattr("user.a", "b")] },
      { ...plain, xattrs: [xattr("user.ab", "")] },
      { ...plain, xattrs: [xattr("user.a", ""), xattr("user.b", "")] },
      { ...plain, xattrs: [xattr("user.a", "user.b")] },
    ];
    const variants = records.map((record) => variantOf(record).toString("hex"));
    expect(new Set(variants).size).toBe(records.length);
  });

  it("is not disturbed by the one before it", () => {
    const before = variantOf(plain).toString("hex");
    variantOf({ mode: undefined, owner: undefined, mtimeNs: undefined, xattrs: undefined });
    expect(variantOf(plain).toString("hex")).toBe(before);
  });
});
