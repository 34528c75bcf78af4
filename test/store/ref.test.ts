import { describe, expect, it } from "vitest";
import { REF_BYTES, Ref } from "../../store/ref.ts";
import { openKernel } from "../support/kernel.ts";

const { sys } = openKernel();
const digest = Buffer.from("ab".repeat(31) + "cd", "hex");
const variant = Buffer.from("0123456789abcdef", "hex");
const group = Buffer.from("fedcba9876543210", "hex");

describe("a reference", () => {
  it("of an object is its digest, fanned out by the first byte, and its variant", () => {
    expect(new Ref(sys).setObject(digest, variant, undefined).text).toBe(
      `ab/${"ab".repeat(30)}cd.0123456789abcdef`,
    );
  });

  it("names the group that may not be shared, and the sibling", () => {
    const ref = new Ref(sys).setObject(digest, variant, group);
    expect(ref.text).toMatch(/\.0123456789abcdef\.gfedcba9876543210$/);
    ref.sibling = 12;
    expect(ref.text).toMatch(/\.gfedcba9876543210\.12$/);
    expect(ref.kind).toBe("object");
  });

  it("of a held group is the group alone", () => {
    const ref = new Ref(sys).setHeld(group);
    expect([ref.kind, ref.text]).toEqual(["held", "fe/dcba9876543210"]);
    ref.sibling = 4_000_000_000;
    expect(ref.text).toBe("fe/dcba9876543210.4000000000");
  });

  it("forgets what it was before", () => {
    const ref = new Ref(sys).setObject(digest, variant, group);
    ref.sibling = 3;
    ref.setObject(digest, variant, undefined);
    expect([ref.sibling, ref.text]).toEqual([0, `ab/${"ab".repeat(30)}cd.0123456789abcdef`]);
    ref.setHeld(group);
    expect(ref.kind).toBe("held");
  });

  it("comes back from its bytes and words", () => {
    const ref = new Ref(sys).setObject(digest, variant, group);
    ref.sibling = 7;
    expect(ref.bytes).toHaveLength(REF_BYTES);
    expect(new Ref(sys).setBytes(ref.bytes).text).toBe(ref.text);
    const words = new Uint32Array(20);
    words.set(ref.words, 5);
    expect(new Ref(sys).copyFrom(words, 5).text).toBe(ref.text);
    expect(Buffer.from(ref.digest).equals(digest)).toBe(true);
    expect(Buffer.from(ref.variant).equals(variant)).toBe(true);
  });

  it("writes a NUL behind its name, also after a longer one", () => {
    const ref = new Ref(sys).setObject(digest, variant, group);
    ref.sibling = 12_345;
    ref.format();
    ref.setHeld(group);
    expect(ref.text).toBe("fe/dcba9876543210");
    expect(sys.statx(-100, ref.format(), 0, sys.allocate(256).address)).toBe(-2);
  });
});
