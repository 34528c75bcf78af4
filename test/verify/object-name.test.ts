import { expect, test } from "vitest";
import type { Facts } from "../../src/verify/inode-reader.ts";
import { isHolderName, isInSlice, parseObjectName, variantText } from "../../src/verify/object-name.ts";
import { variantOf } from "../../store/variant.ts";

const rest = "0123456789abcdef".repeat(4).slice(2);
const variant = "fedcba9876543210";

test("takes every name a run gives, and no other", () => {
  const good = [`${rest}.${variant}`, `${rest}.${variant}.1`, `${rest}.${variant}.g00000000000000ff.12`];
  for (const name of good) expect(parseObjectName("01", name)).toEqual({ digest: `01${rest}`, variant });
  const bad = [
    ...[
      rest,
      `${rest}.`,
      `${rest}.${variant}.0`,
      `${rest}.${variant}.01`,
      `${rest}.${variant}.g0000000000000000`,
    ],
    ...[
      `${rest}.${variant}.g1`,
      `${rest}x.${variant}`,
      `${rest}.${variant}\n`,
      `.${rest}.${variant}`,
      "README",
    ],
    ...[`${rest.toUpperCase()}.${variant}`, `${rest}.${variant}.1.g00000000000000ff`],
  ];
  for (const name of bad) expect([name, parseObjectName("01", name)]).toEqual([name, undefined]);
  expect(isHolderName("0123456789abcd")).toBe(true);
  expect(isHolderName("0123456789abcd.3")).toBe(true);
  for (const name of ["0123456789abc", "0123456789abcd.0", "0123456789abcde"])
    expect(isHolderName(name)).toBe(false);
});

test("every digest is in one slice of any number of slices", () => {
  for (const of of [1, 2, 30, 365]) {
    for (const start of ["00000000", "ffffffff", "80000000", "7fffffff", "08888888", "deadbeef"]) {
      const name = { digest: start + "0".repeat(56), variant };
      const slices = Array.from({ length: of }, (_, index) => index + 1);
      expect(slices.filter((number) => isInSlice(name, { number, of }))).toHaveLength(1);
    }
  }
});

test("makes the variants that the store makes", () => {
  const facts: Facts = {
    ...{ type: 0o100000, mode: 0o4755, uid: 4_294_967_294, gid: 12, mtimeNs: -631_152_000_123_456_789n },
    ...{
      sizeBytes: 5,
      rdevMajor: 0,
      rdevMinor: 0,
      linkTarget: "",
      device: 1,
      inoLow: 2,
      inoHigh: 0,
      links: 1,
    },
    xattrs: [
      ["security.capability", "\x01\x00\xff"],
      ["user.\xff", ""],
    ],
  };
  const xattrs = facts.xattrs.map(([name, value]) => ({
    name: Buffer.from(name, "latin1"),
    value: Buffer.from(value, "latin1"),
  }));
  for (let bits = 0; bits < 16; bits++) {
    const compared = {
      mode: (bits & 1) !== 0,
      owner: (bits & 2) !== 0,
      time: (bits & 4) !== 0,
      xattrs: bits > 7,
    };
    const record = {
      mode: compared.mode ? facts.mode : undefined,
      owner: compared.owner ? { uid: facts.uid, gid: facts.gid } : undefined,
      mtimeNs: compared.time ? facts.mtimeNs : undefined,
      xattrs: compared.xattrs ? xattrs : undefined,
    };
    expect(variantText(facts, compared)).toBe(variantOf(record).toString("hex"));
  }
});
