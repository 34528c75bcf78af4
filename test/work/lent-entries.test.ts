import { describe, expect, it } from "vitest";
import { LentEntries } from "../../src/work/lent-entries.ts";

function bothEnds() {
  const loan = LentEntries.lend([{ name: Buffer.from("name"), inoLow: 1, inoHigh: 0 }]);
  return { lender: new LentEntries(loan), borrower: new LentEntries(loan) };
}

const neverAsked = () => {
  throw new Error("asked whether to stop");
};

describe("lent entries", () => {
  it("are taken back while nobody has begun, and can then not be taken", () => {
    const { lender, borrower } = bothEnds();
    expect(lender.takeBack(neverAsked)).toBe(true);
    expect(borrower.take()).toBe(false);
  });

  it("are waited for once they are taken, unless the run is to end", () => {
    const { lender, borrower } = bothEnds();
    expect(borrower.take()).toBe(true);
    expect(() => lender.takeBack(neverAsked)).toThrow("asked");
    borrower.finish();
    expect(lender.takeBack(neverAsked)).toBe(false);
  });

  it("stay with the lender when a borrower fails before it takes them", () => {
    const { lender, borrower } = bothEnds();
    borrower.finish();
    expect(lender.takeBack(neverAsked)).toBe(true);
    borrower.finish();
    expect(borrower.take()).toBe(false);
  });
});
