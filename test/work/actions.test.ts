import fc from "fast-check";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { appendAction, readActions, type Action } from "../../src/work/actions.ts";
import { openActions } from "../../src/work/publish.ts";
import { openFolder, openKernel } from "../support/kernel.ts";

const kernel = openKernel();
let work = "";
let fd = -1;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-actions-"));
  fd = openFolder(work);
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

function roundTrip(actions: Action[]): Action[] {
  const file = openActions(kernel, fd, 7);
  for (const action of actions) appendAction(kernel.sys, file, action);
  const back = [...readActions(kernel, file)];
  expect([...readActions(kernel, file)]).toHaveLength(back.length);
  kernel.sys.close(file);
  return back;
}

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((each) => Buffer.from(each));
const seen = fc.string({ unit: "grapheme-ascii", maxLength: 60 });
const word = fc.nat(2 ** 32 - 1);
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({
    type: fc.constant("put" as const),
    unit: word,
    directory: bytes(300),
    name: bytes(255),
    serial: word,
    seen,
    newIno: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  }),
  fc.record({
    type: fc.constant("remove" as const),
    unit: word,
    directory: bytes(300),
    name: bytes(255),
    seen,
  }),
  fc.record({ type: fc.constant("attributes" as const), unit: word, directory: bytes(300) }),
);

describe("actions", () => {
  it("come back as they were written, any number of them", () => {
    fc.assert(
      fc.property(fc.array(action), (actions) => {
        expect(roundTrip(actions)).toEqual(actions);
      }),
      { numRuns: 60 },
    );
  });

  it("come back where the chunks of reading cut them, and where one is longer than a chunk", () => {
    const put = (length: number): Action => ({
      type: "put",
      unit: 1,
      directory: Buffer.alloc(length, "d"),
      name: Buffer.from("n"),
      serial: 2,
      seen: "3_0_-1",
      newIno: 4n,
    });
    const actions = [
      ...Array.from({ length: 300 }, (_, at) => put(900 + at)),
      put(1_000_000),
      put(5),
      put(262_144 - 43),
      put(262_144),
      put(0),
    ];
    const sizes = (all: Action[]) =>
      all.map(({ directory, ...rest }) => [directory.length, directory.every((byte) => byte === 0x64), rest]);
    expect(sizes(roundTrip(actions))).toEqual(sizes(actions));
  });
});
