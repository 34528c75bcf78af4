import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import {
  EUCLEAN,
  SysError,
  check,
  errno,
  errnoName,
  errnoSentence,
  isSysError,
} from "../../src/sys/errors.ts";

describe("errno", () => {
  it("has the numbers and names of the C library", () => {
    const script = "import errno,json;print(json.dumps({k:v for k,v in vars(errno).items() if k[0]=='E'}))";
    const real = JSON.parse(execFileSync("python3", ["-c", script], { encoding: "utf8" })) as Record<
      string,
      number
    >;
    for (const name of [
      "ENOENT",
      "EEXIST",
      "EMLINK",
      "ENOSPC",
      "EDQUOT",
      "EROFS",
      "ENODATA",
      "EXDEV",
      "ELOOP",
      "ESTALE",
      "ENOTCONN",
    ]) {
      expect([name, errno[name as keyof typeof errno]]).toEqual([name, real[name]]);
      expect(errnoName(real[name]!)).toBe(name);
    }
    expect(real["EUCLEAN"]).toBe(EUCLEAN);
    expect([errnoName(real["EAGAIN"]!), errnoName(real["EOPNOTSUPP"]!)]).toEqual(["EAGAIN", "EOPNOTSUPP"]);
  });

  it("has a name for numbers that have none", () => {
    expect(errnoName(4000)).toBe("E4000");
    expect(errnoSentence("E4000")).toBe("E4000");
  });
});

describe("a failed call", () => {
  it("says which, why and on what", () => {
    const error = new SysError("openat", errno.ENOENT, Buffer.from([0xff]));
    expect(error).toMatchObject({
      call: "openat",
      code: "ENOENT",
      errno: errno.ENOENT,
      path: Buffer.from([0xff]),
    });
    expect(error.message).toBe("openat: no such file or directory (ENOENT)");
  });

  it("is thrown for negative results alone", () => {
    expect(check(0, "x")).toBe(0);
    expect(check(7, "x")).toBe(7);
    expect(() => check(-errno.EIO, "read", "p")).toThrow(SysError);
  });

  it("is told from others by its code", () => {
    const error = new SysError("linkat", errno.EMLINK);
    expect([
      isSysError(error),
      isSysError(error, "EMLINK"),
      isSysError(error, "EEXIST"),
      isSysError(new Error()),
    ]).toEqual([true, true, false, false]);
  });
});
