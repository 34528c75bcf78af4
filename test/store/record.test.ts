import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  RECORD_BYTES,
  RecordBuffer,
  decodeRecord,
  decodeSourceRow,
  decodeTarget,
  objectRow,
  sourceRow,
} from "../../store/record.ts";
import { REF_BYTES } from "../../store/ref.ts";
import { openKernel } from "../support/kernel.ts";

const buffer = new RecordBuffer(openKernel().sys, 1);
const ino = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const time = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 64n });
const size = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const known = fc.record({
  identity: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  source: fc.record({ ino, generation: fc.nat(2 ** 32 - 1), sizeBytes: size, mtimeNs: time, ctimeNs: time }),
  target: fc.record({ ino, sizeBytes: size, mtimeNs: time }),
  ref: fc.uint8Array({ minLength: REF_BYTES, maxLength: REF_BYTES }),
});

describe("a record", () => {
  it("comes back as it was, whole and as rows", () => {
    fc.assert(
      fc.property(known, (given) => {
        const bytes = Buffer.from(buffer.clear().append(given).memory.bytes);
        const back = decodeRecord(bytes)!;
        expect({ ...back, identity: Uint8Array.from(back.identity), ref: Uint8Array.from(back.ref) }).toEqual(
          given,
        );
        const row = decodeSourceRow(Buffer.from(sourceRow(bytes)));
        expect({ ...row, ref: Uint8Array.from(row.ref) }).toEqual({
          source: given.source,
          target: given.target,
          ref: given.ref,
        });
        expect(decodeTarget(Buffer.from(objectRow(bytes)))).toEqual(given.target);
      }),
    );
  });

  it("is not believed when a bit of it has changed, or its end is missing", () => {
    fc.assert(
      fc.property(known, fc.nat(RECORD_BYTES * 8 - 1), fc.nat(RECORD_BYTES - 1), (given, bit, length) => {
        const bytes = Buffer.from(buffer.clear().append(given).memory.bytes);
        bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
        expect(decodeRecord(bytes)).toBeUndefined();
        expect(decodeRecord(bytes.subarray(0, length))).toBeUndefined();
      }),
    );
  });

  it("is not seen in zeros, which a power cut leaves", () => {
    expect(decodeRecord(Buffer.alloc(RECORD_BYTES))).toBeUndefined();
  });
});
