import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readRsnapshotConf } from "../../src/commands/rsnapshot-conf.ts";
import { dedupe, makeWorkplace, startDedupe, type Workplace } from "../support/dedupe.ts";
import { compact } from "../support/faulty-run.ts";
import { openKernel } from "../support/kernel.ts";
import { migrateWell } from "../support/migrate.ts";
import { requireRsnapshot } from "../support/rsnapshot.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { verify } from "../support/verify.ts";

let workplace: Workplace;
let target = "";
let conf = "";
let lockfile = "";

beforeAll(() => {
  workplace = makeWorkplace();
  const source = join(workplace.path, "source");
  target = join(workplace.path, "target");
  conf = join(workplace.path, "rsnapshot.conf");
  lockfile = join(workplace.path, "rsnapshot.pid");
  makeSmallRoot(source, "monday");
  mkdirSync(target);
  migrateWell(source, target);
});
afterAll(() => workplace.close());
beforeEach(() => {
  rmSync(lockfile, { force: true });
  writeConf(["lockfile", lockfile]);
});

function writeConf(...lines: string[][]): void {
  const all = [
    ["config_version", "1.2"],
    ["snapshot_root", `${target}/`],
    ["no_create_root", "1"],
    ["cmd_cp", "/bin/cp"],
    ["cmd_rm", "/bin/rm"],
    ["cmd_rsync", "/usr/bin/rsync"],
    ["retain", "daily", "7"],
    ["backup", `${workplace.path}/source/`, "localhost/"],
    ...lines,
  ];
  writeFileSync(conf, all.map((line) => `${line.join("\t")}\n`).join(""));
}

const deadPid = (): string => String(spawnSync("true").pid);
const underLock = (...args: string[]) => verify(["--quick", "--rsnapshot-conf", conf, ...args]);

/** A verify that lasts, once it has the lock. */
async function startSlow(): Promise<ReturnType<typeof startDedupe>> {
  const started = startDedupe(["verify", "--bwlimit", "1k", "--rsnapshot-conf", conf]);
  while (!existsSync(lockfile) || readFileSync(lockfile).length === 0) await sleep(20);
  return started;
}

describe("--rsnapshot-conf", () => {
  it("refuses a log among the snapshots of snapshot_root, too", () => {
    const log = join(target, "run.log");
    const run = dedupe(["compact", "--rsnapshot-conf", conf, `--log-file=${log}`]);
    expect([run.code, run.err]).toEqual([2, expect.stringContaining("among the snapshots")]);
    expect(existsSync(log)).toBe(false);
    const missing = join(workplace.path, "missing.conf");
    const elsewhere = dedupe([
      "compact",
      "--rsnapshot-conf",
      missing,
      `--log-file=${workplace.path}/run.log`,
    ]);
    expect([elsewhere.code, elsewhere.err]).toEqual([2, expect.stringContaining("missing.conf")]);
  });

  it("works on snapshot_root, and leaves no lock behind", () => {
    const run = underLock();
    expect(run).toMatchObject({ code: 0, found: [], err: "" });
    expect(run.summary.target).toBe(target);
    expect(existsSync(lockfile)).toBe(false);
  });

  it.skipIf(!requireRsnapshot())("keeps the real rsnapshot away until a signal ends it", async () => {
    const { process: started, ended } = await startSlow();
    expect(readFileSync(lockfile, "utf8")).toBe(String(started.pid));
    const refused = spawnSync("rsnapshot", ["-c", conf, "daily"], { encoding: "utf8" });
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("exists and so does its process, can not continue");
    started.kill("SIGTERM");
    expect((await ended).code).toBe(143);
    expect(existsSync(lockfile)).toBe(false);
  });

  it("releases the lock when a second signal ends it at once", async () => {
    const { process: started, ended } = await startSlow();
    started.kill("SIGINT");
    started.kill("SIGTERM");
    await ended;
    expect(existsSync(lockfile)).toBe(false);
  });

  it("releases the lock when the command is refused or finds something", () => {
    const format = join(target, ".dedupe/format.json");
    const content = readFileSync(format);
    writeFileSync(format, "{}");
    try {
      expect(underLock()).toMatchObject({ code: 1 });
    } finally {
      writeFileSync(format, content);
    }
    expect(existsSync(lockfile)).toBe(false);
  });

  it("is refused with 5 while rsnapshot works, and leaves its lock", () => {
    writeFileSync(lockfile, String(process.pid));
    const run = underLock();
    expect(run.code).toBe(5);
    expect(run.err).toContain(
      `dedupe: rsnapshot is at work: process ${process.pid} holds its lock ${lockfile}\n`,
    );
    expect(readFileSync(lockfile, "utf8")).toBe(String(process.pid));
  });

  it("removes the lock of a killed run and says so, unless rsnapshot is to stop there", () => {
    const pid = deadPid();
    writeFileSync(lockfile, `${pid}\n`);
    const run = underLock();
    expect(run.code).toBe(0);
    expect(run.events.filter(({ code }) => code === "STALE_LOCK")).toHaveLength(1);
    expect(existsSync(lockfile)).toBe(false);
    writeConf(["lockfile", lockfile], ["stop_on_stale_lockfile", "1"]);
    writeFileSync(lockfile, pid);
    const stopped = underLock();
    expect(stopped.code).toBe(5);
    expect(stopped.err).toContain("was left by a killed run\n");
    expect(readFileSync(lockfile, "utf8")).toBe(pid);
  });

  it("takes a target within snapshot_root, and refuses another tree", () => {
    expect(underLock(target).code).toBe(0);
    const run = underLock(join(workplace.path, "source"));
    expect(run.code).toBe(2);
    expect(run.err).toContain(`works on ${target}, not on ${join(workplace.path, "source")}\n`);
    const missing = verify(["--quick"]);
    expect(missing.code).toBe(2);
    expect(missing.err).toContain("dedupe: missing required argument 'target'\n");
  });

  it("says that its lock could not be removed, which is never exit 0 and hides no other code", async () => {
    const action = { type: "fail", errno: constants.errno.EROFS } as const;
    const plan = { rules: [{ calls: ["unlinkat"], path: lockfile, action }] };
    const args = ["-j", "1", "--priority", "normal", "--rsnapshot-conf", conf];
    const left = await compact(target, { args, plan });
    expect(left.stdout).toContain(`rsnapshot's lock ${lockfile} cannot be removed (EROFS)`);
    expect(left).toMatchObject({ code: 1, stderr: "", summary: { outcome: "complete" } });
    const foreign = join(target, ".dedupe/objects/mine");
    writeFileSync(foreign, "");
    rmSync(lockfile);
    const found = await compact(target, { args, plan });
    rmSync(foreign);
    expect(found).toMatchObject({ code: 4, stderr: "", summary: { outcome: "findings" } });
    expect(existsSync(lockfile)).toBe(true);
  });

  it("says that there is no lock to take where none is configured", () => {
    writeConf();
    const run = underLock();
    expect(run.code).toBe(0);
    expect(run.events.filter(({ code }) => code === "NO_LOCKFILE")).toHaveLength(1);
  });

  it("is refused where the lock cannot be made, or the configuration cannot be read", () => {
    writeConf(["lockfile", "/nonexistent/rsnapshot.pid"]);
    expect(underLock()).toMatchObject({ code: 1 });
    expect(underLock().err).toContain("cannot be made (ENOENT)\n");
    const run = verify(["--rsnapshot-conf", "/nonexistent"]);
    expect(run.code).toBe(2);
    expect(run.err).toContain("rsnapshot's configuration cannot be used: /nonexistent: ");
  });
});

describe.skipIf(!requireRsnapshot())("rsnapshot's configuration", () => {
  const kernel = openKernel();
  const ours = (): string | undefined => readRsnapshotConf(kernel, conf).lockfile?.toString("latin1");

  /** Which lock file rsnapshot itself would make; undefined where it refuses the file. */
  function theirs(): string | undefined {
    const { stdout } = spawnSync("rsnapshot", ["-t", "-c", conf, "daily"], { encoding: "latin1" });
    return /^echo \d+ > (.*?)\s*$/m.exec(stdout)?.[1];
  }

  const script = (): string => {
    const path = join(workplace.path, "more.sh");
    writeFileSync(path, `#!/bin/sh\nprintf 'lockfile\\t/run/%s.pid\\n' "$1"\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const included = (content: string): string => {
    const path = join(workplace.path, "more.conf");
    writeFileSync(path, content);
    return path;
  };

  it.each<[string, () => string[][]]>([
    [
      "the last of several",
      () => [
        ["lockfile", "/run/a.pid"],
        ["lockfile", "/run/b.pid"],
      ],
    ],
    ["after several tabs, with a word too many", () => [["lockfile", "", "", "/run/a b.pid", "c"]]],
    ["continued on the next line", () => [["lockfile\n  /run/continued.pid\n\t# no comment"]]],
    [
      "in a comment",
      () => [
        ["#lockfile", "/run/a.pid"],
        ["lockfile", "/run/b.pid"],
        ["# lockfile", "/run/c"],
      ],
    ],
    [
      "of an included file",
      () => [
        ["lockfile", "/run/a.pid"],
        ["include_conf", included("lockfile\t/run/i.pid\n")],
      ],
    ],
    ["of a script with arguments", () => [["include_conf", `\`${script()} made\``]]],
    [
      "of a file that a file includes",
      () => [["include_conf", included(`include_conf\t\`${script()} deep\`\n`)]],
    ],
    ["of bytes that are no UTF-8", () => [["lockfile", "/run/\u00e9.pid"]]],
  ])("is read as rsnapshot reads it: a lock %s", (_, lines) => {
    writeConf(...lines());
    const expected = theirs();
    expect(expected).toMatch(/^\/run\//);
    expect(ours()).toBe(expected);
  });

  it.each<[string, () => string[][]]>([
    ["a lock that is no full path", () => [["lockfile", "run/a.pid"]]],
    ["a lock above its directory", () => [["lockfile", "/run/../a.pid"]]],
    ["blanks in place of tabs", () => [["lockfile /run/a.pid"]]],
    ["an include that is not there", () => [["include_conf", "/nonexistent"]]],
    ["a script that is not there", () => [["include_conf", "`/nonexistent x`"]]],
    [
      "a third truth value",
      () => [
        ["lockfile", "/run/a.pid"],
        ["stop_on_stale_lockfile", "yes"],
      ],
    ],
  ])("is refused as by rsnapshot: %s", (_, lines) => {
    writeConf(...lines());
    expect(theirs()).toBeUndefined();
    expect(ours).toThrow(/rsnapshot's configuration cannot be used/);
  });

  it("that leads in a circle is refused", () => {
    writeConf(["include_conf", conf]);
    expect(ours).toThrow(/leads in a circle/);
  });
});

describe.skipIf(!requireRsnapshot())("the line for rsnapshot.conf in docs/systemd", () => {
  it("is one that rsnapshot accepts", () => {
    writeConf(["lockfile", lockfile]);
    const line = readFileSync(new URL("../../docs/systemd/rsnapshot-postexec.conf", import.meta.url));
    writeFileSync(conf, Buffer.concat([readFileSync(conf), line]));
    expect(execFileSync("rsnapshot", ["-c", conf, "configtest"], { encoding: "utf8" })).toBe("Syntax OK\n");
  });
});
