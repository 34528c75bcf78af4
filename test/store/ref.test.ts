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

  const at = (name: string) => ({ bytes: Buffer.from(`xy${name}\0z`, "latin1"), at: 2 });

  it("comes back from its name, whatever it was before", () => {
    const ref = new Ref(sys);
    for (const sibling of [0, 1, 42, 999_999_999])
      for (const known of [undefined, group]) {
        const given = new Ref(sys).setObject(digest, variant, known);
        given.sibling = sibling;
        expect(ref.parse("object", given.text.slice(0, 2), at(given.text.slice(3)))).toBe(true);
        expect(Buffer.from(ref.bytes).toString("hex")).toBe(Buffer.from(given.bytes).toString("hex"));
        given.setHeld(group).sibling = sibling;
        expect(ref.parse("held", given.text.slice(0, 2), at(given.text.slice(3)))).toBe(true);
        expect(Buffer.from(ref.bytes).toString("hex")).toBe(Buffer.from(given.bytes).toString("hex"));
      }
  });

  // docs/store-format.md, "Names".
  const shapes = {
    object: /^[0-9a-f]{62}\.[0-9a-f]{16}(\.g(?!0{16})[0-9a-f]{16})?(\.[1-9][0-9]{0,8})?$/,
    held: /^[0-9a-f]{14}(\.[1-9][0-9]{0,8})?$/,
  };

  it.each(["object", "held"] as const)("is not read from any other name: %s", (kind) => {
    const ref = new Ref(sys);
    const given = new Ref(sys).setObject(digest, variant, group);
    if (kind === "held") given.setHeld(group);
    given.sibling = 120;
    const name = given.text.slice(3);
    const zeroGroup = name.replace(/\.g[0-9a-f]{16}/, `.g${"0".repeat(16)}`);
    const names = new Set(["", ".", zeroGroup, `${name}0000000`, `${name}00000000`]);
    for (let from = 0; from <= name.length; from++) {
      names.add(name.slice(0, from));
      names.add(name.slice(from));
      for (const put of ["0", "9", "a", "A", "g", ".", "/", "\xff"])
        for (const cut of [0, 1]) names.add(name.slice(0, from) + put + name.slice(from + cut));
    }
    const read = [...names].filter((each) => ref.parse(kind, "ab", at(each)));
    expect(read).toEqual([...names].filter((each) => shapes[kind].test(each)));
    expect(read.length).toBeGreaterThan(50);
  });

  it("is in no directory but those of two digits", () => {
    const name = at(new Ref(sys).setHeld(group).text.slice(3));
    const directories = ["fe", "0a", "a", "fee", "FE", "g0", "", "..", " 1", "1 ", "+1"];
    expect(directories.filter((each) => new Ref(sys).parse("held", each, name))).toEqual(["fe", "0a"]);
  });
});
