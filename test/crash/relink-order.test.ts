import { lstatSync, mkdtempSync, readFileSync, rmSync, openSync, closeSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { leftovers, readTrace, relink, type RunResult } from "../support/faulty-run.ts";
import type { FaultRule, TracedCall } from "../support/faults/plan.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { makeInflatedRoot } from "../support/inflated-root.ts";
import { healedDifferences } from "../support/relink.ts";
import { brokenNames } from "../support/relink-sweep.ts";

const MIB = 2 ** 20;

interface Traced {
  readonly result: RunResult;
  readonly trace: TracedCall[];
  readonly root: string;
  readonly original: string;
}

async function traced(
  rules: (root: string) => readonly FaultRule[],
  look: (traced: Traced) => void | Promise<void>,
  before: (root: string) => void = () => undefined,
): Promise<void> {
  await withFilesystem({ type: "ext4", sizeBytes: 512 * MIB }, async (mount) => {
    const [root, original] = [join(mount, "root"), join(mount, "original")];
    makeInflatedRoot(root, original);
    before(root);
    const folder = mkdtempSync("/tmp/dedupe-relink-");
    const file = join(folder, "trace");
    const result = await relink(root, { args: ["-j", "1"], plan: { rules: rules(root), trace: { file } } });
    const trace = readTrace(file);
    rmSync(folder, { recursive: true });
    await look({ result, trace, root, original });
  });
}

/** A name of the tree given to something from tmp/. */
const isExchange = ({ call, paths }: TracedCall): boolean =>
  call === "renameat2" && paths[0]!.endsWith("/.dedupe/tmp") && !paths[2]!.includes("/.dedupe");

describe.skipIf(!requireFilesystem("ext4"))("the order of a relink", () => {
  it("is: adopt, log, syncfs, link, look at it, exchange, look at what came out, and only then unlink", async () => {
    await traced(
      () => [],
      ({ result, trace, root, original }) => {
        expect(result.code).toBe(0);
        expect(healedDifferences(original, root)).toEqual([]);
        const exchanges = trace.filter(isExchange);
        expect(exchanges).toHaveLength(8);
        const first = exchanges[0]!;
        const adoptions = trace.filter(
          ({ call, paths, result: answer }) =>
            call === "linkat" && answer === 0 && paths[2]!.endsWith("/.dedupe/objects"),
        );
        const logged = trace.filter(
          ({ call, paths }) => call === "write" && paths[0]!.endsWith("/log/relink"),
        );
        expect(adoptions.length).toBeGreaterThan(3);
        expect(logged.length).toBeGreaterThan(0);
        const last = Math.max(...[...adoptions, ...logged].map(({ end }) => end));
        expect(
          trace.some(
            ({ call, result: answer, begin, end }) =>
              call === "syncfs" && answer === 0 && begin > last && end < first.begin,
          ),
        ).toBe(true);
        for (const exchange of exchanges) {
          const link = trace.findLast(
            ({ call, paths, end }) =>
              call === "linkat" && paths[2]!.endsWith("/.dedupe/tmp") && end < exchange.begin,
          )!;
          const unlink = trace.find(
            ({ call, paths, begin }) =>
              call === "unlinkat" && paths[0]!.endsWith("/.dedupe/tmp") && begin > exchange.end,
          )!;
          const between = (from: TracedCall, to: TracedCall, call: string): TracedCall[] =>
            trace.filter((each) => each.call === call && each.begin > from.end && each.end < to.begin);
          expect(between(link, exchange, "statx").length).toBeGreaterThan(0);
          const looks = between(exchange, unlink, "statx");
          const leases = between(exchange, unlink, "setLease");
          expect(leases).toHaveLength(1);
          expect(looks.some(({ begin }) => begin > leases[0]!.end)).toBe(true);
        }
      },
    );
  });
});

const name = "daily.1/docs/deep/same";
/** The exchange with that name of the tree. */
const onExchange = (at: number, when: "before" | "after", command: string): FaultRule => ({
  calls: ["renameat2"],
  path: "daily.1/docs/deep",
  at,
  action: { type: "run", when, command },
});

describe.skipIf(!requireFilesystem("ext4"))("who changes a name while relink is at it", () => {
  const replaceWith = (root: string, text: string): string =>
    `printf '${text}' > ${root}/../new && mv ${root}/../new ${root}/${name}`;

  it.each([
    ["by replacing it", (root: string) => replaceWith(root, "newer"), "newer"],
    ["by writing to it", (root: string) => `printf 'more' >> ${root}/${name}`, "also the same\nmore"],
  ])("%s just before the exchange keeps what was written", async (_how, command, content) => {
    await traced(
      (root) => [onExchange(1, "before", command(root))],
      ({ result, root, original }) => {
        expect(readFileSync(join(root, name), "utf8")).toBe(content);
        expect(result.code).toBe(3);
        expect(result.failures).toMatchObject([{ path: name, code: "CHANGED" }]);
        expect(brokenNames(original, root).filter(({ path }) => path !== name)).toEqual([]);
      },
    );
  });

  it("and once more just before the exchange back keeps the newest", async () => {
    await traced(
      (root) => [
        onExchange(1, "before", replaceWith(root, "newer")),
        onExchange(2, "before", replaceWith(root, "newest")),
      ],
      ({ result, root, original }) => {
        expect(readFileSync(join(root, name), "utf8")).toBe("newest");
        expect(result.failures).toMatchObject([{ path: name, code: "CHANGED" }]);
        expect(brokenNames(original, root).filter(({ path }) => path !== name)).toEqual([]);
      },
    );
  });

  it("by removing it gets nothing back", async () => {
    await traced(
      (root) => [onExchange(1, "before", `rm ${root}/${name}`)],
      ({ result, root, original }) => {
        expect(result.failures).toMatchObject([{ path: name, code: "CHANGED" }]);
        expect(brokenNames(original, root)).toMatchObject([{ class: "missing", path: name }]);
      },
    );
  });

  it("by writing to what its equals are to share keeps them from it", async () => {
    await traced(
      (root) => [
        {
          calls: ["setLease"],
          at: 1,
          action: { type: "run", when: "before", command: `printf x >> ${root}/daily.2/docs/deep/same` },
        },
      ],
      ({ root, original }) => {
        const broken = brokenNames(original, root).map(({ path }) => path);
        expect(new Set(broken)).toEqual(new Set(["daily.2/docs/deep/same"]));
      },
    );
  });

  it("by opening what its equals are to share for writing keeps them from it, which is said", async () => {
    const survivor = "daily.2/docs/deep/same";
    // It was read by then, for which a lease was taken and given back.
    const command = (root: string): string => `exec 3>> ${root}/${survivor}; sleep 1.5 &`;
    await traced(
      (root) => [
        {
          ...{ calls: ["setLease"], path: survivor, at: 3 },
          action: { type: "run", when: "before", command: command(root) },
        },
      ],
      ({ result, root, original }) => {
        const message = "it is open for writing; it and its equals were left alone";
        expect(result.failures).toMatchObject([{ path: survivor, code: "BUSY", message }]);
        expect(lstatSync(join(root, name)).nlink).toBe(1);
        expect(brokenNames(original, root)).toEqual([]);
      },
    );
  });

  it("by holding it open for writing is noticed, and nothing that it writes is lost", async () => {
    let held = -1;
    await traced(
      () => [],
      ({ result, root, original }) => {
        writeSync(held, "written late");
        closeSync(held);
        expect(result.code).toBe(3);
        expect(result.failures).toMatchObject([{ path: name, code: "BUSY" }]);
        expect(readFileSync(join(root, name), "utf8")).toBe("also the same\nwritten late");
        expect(brokenNames(original, root).filter(({ path }) => path !== name)).toEqual([]);
      },
      (root) => {
        held = openSync(join(root, name), "a");
      },
    );
  });

  it("by opening it for writing just before the exchange loses nothing that it writes long after", async () => {
    await traced(
      // Opened now, written to when the run is over.
      (root) => [onExchange(1, "before", `exec 3>> ${root}/${name}; (sleep 1.5; printf late >&3) &`)],
      async ({ result, root, original }) => {
        expect(result.failures).toMatchObject([{ path: name, code: "BUSY" }]);
        await new Promise((resolve) => setTimeout(resolve, 2000));
        expect(readFileSync(join(root, name), "utf8")).toBe("also the same\nlate");
        expect(brokenNames(original, root).filter(({ path }) => path !== name)).toEqual([]);
      },
    );
  });

  it("in another name of the directory keeps the directory's new time", async () => {
    await traced(
      (root) => [onExchange(1, "after", `touch ${root}/daily.1/docs/deep/added`)],
      ({ root, original }) => {
        const found = brokenNames(original, root);
        expect(found).toMatchObject([{ class: "extra", path: "daily.1/docs/deep/added" }]);
        const times = healedDifferences(original, root).filter(({ class: kind }) => kind === "mtime");
        expect(times).toMatchObject([{ path: "daily.1/docs/deep" }]);
      },
    );
  });

  it.each([
    ["once its time is logged", { calls: ["write"], path: "log/relink" }],
    ["after the last exchange in it", { calls: ["renameat2"], path: "daily.1/docs/deep" }],
  ])("by giving the directory another time %s is left with it", async (_, filter) => {
    const deep = "daily.1/docs/deep";
    const command = (root: string): string => `touch -d @1234567890 ${root}/${deep}`;
    await traced(
      (root) => [{ ...filter, action: { type: "run", when: "after", command: command(root) } }],
      ({ result, root, original }) => {
        expect(result.code).toBe(0);
        expect(lstatSync(join(root, deep)).mtimeMs).toBe(1_234_567_890_000);
        expect(healedDifferences(original, root)).toMatchObject([{ class: "mtime", path: deep }]);
      },
    );
  });

  it.each([
    ["look at the new link", "statx", 1],
    ["look at what came out", "flistxattr", 3],
    ["removal of what came out", "unlinkat", 1],
  ])("leaves nothing for long where the %s fails", async (_, call, code) => {
    await traced(
      () => [{ calls: [call], path: "relink.0", action: { type: "fail", errno: constants.errno.EIO } }],
      async ({ result, root, original }) => {
        expect(result.code).toBe(code);
        expect(brokenNames(original, root)).toEqual([]);
        if (code === 3) expect(leftovers(root)).toEqual([]);
        expect((await relink(root)).code).toBe(0);
        expect(healedDifferences(original, root)).toEqual([]);
        expect(leftovers(root)).toEqual([]);
      },
    );
  });

  it.each(["linkat", "renameat2"])("tries %s again once where there is no room", async (call) => {
    const { ENOSPC } = constants.errno;
    await traced(
      () => [{ calls: [call], path: "relink.0", action: { type: "fail", errno: ENOSPC } }],
      ({ result, root, original }) => {
        expect(result.code).toBe(0);
        expect(healedDifferences(original, root)).toEqual([]);
      },
    );
  });

  it("does not touch what nobody knows beside its temporary names", async () => {
    await traced(
      (root) => [
        {
          calls: ["syncfs"],
          action: { type: "run", when: "after", command: `echo foreign > ${root}/.dedupe/tmp/relink.0` },
        },
      ],
      ({ result, root, original }) => {
        expect(result.code).toBe(0);
        expect(healedDifferences(original, root)).toEqual([]);
        expect(leftovers(root)).toEqual(["tmp/relink.0"]);
      },
    );
  });
});
