import { describe, expect, it } from "vitest";
import { blake3, openHasher, wasmBlake3 } from "../../store/hash/blake3.ts";

/** The input of the official test vectors: 0 to 250, over and over. */
const input = (length: number) => Buffer.from(Array.from({ length }, (_, at) => at % 251));

describe("BLAKE3", () => {
  it.each([
    [0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"],
    [1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"],
    [1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"],
  ])("of %d bytes is the official digest", (length, digest) => {
    expect(blake3(input(length)).toString("hex")).toBe(digest);
  });

  it.each([0, 1, 63, 64, 65, 1023, 1025, 16_383, 16_384, 16_385, 100_000, 1 << 20])(
    "of %d bytes is the same natively, in WebAssembly and in pieces",
    (length) => {
      const bytes = input(length);
      const whole = blake3(bytes).toString("hex");
      expect(wasmBlake3(bytes).toString("hex")).toBe(whole);
      const hasher = openHasher();
      for (let at = 0; at < length; at += 7001) hasher.update(bytes.subarray(at, at + 7001));
      expect(hasher.finish().toString("hex")).toBe(whole);
    },
  );

  it("of a view is that of the view", () => {
    const bytes = input(5000);
    expect(blake3(bytes.subarray(1000, 1100)).equals(blake3(Buffer.from(bytes.subarray(1000, 1100))))).toBe(
      true,
    );
  });
});
