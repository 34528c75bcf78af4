import { spawn, spawnSync } from "node:child_process";
import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compactWell, mismatches } from "../support/compact.ts";
import { dedupe, dedupeScript, makeWorkplace, startDedupe, type Workplace } from "../support/dedupe.ts";
import { migrateWell } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { makeRsnapshotRoot, requireRsnapshot, type RsnapshotRoot } from "../support/rsnapshot.ts";
import { verify } from "../support/verify.ts";

/** More than are retained: all snapshots were made beside a compact. */
const ROUNDS = 6;

describe.skipIf(!requireRsnapshot())("compact and a real rsnapshot", () => {
  let workplace: Workplace;
  let made: RsnapshotRoot;
  /** Made by rsnapshot alone, and with a compact beside it. */
  let [alone, target] = ["", ""];
  /** Of the rsnapshot that works on the target. */
  let [conf, lockfile] = ["", ""];

  beforeAll(() => {
    workplace = makeWorkplace(2 ** 30);
    [alone, target] = [join(workplace.path, "alone"), join(workplace.path, "target")];
    // Without link_dest rsync changes attributes in place, in all snapshots that share the inode.
    const options = { snapshots: 3, scale: 0.3, retain: 4, linkDest: true, largestFileBytes: 100_000 };
    made = makeRsnapshotRoot(alone, options);
    mkdirSync(target);
    migrateWell(alone, target);
    [conf, lockfile] = [join(workplace.path, "rsnapshot.conf"), join(workplace.path, "rsnapshot.pid")];
    const text = readFileSync(join(dirname(made.live), "rsnapshot.conf"), "utf8");
    const own = text.replace(`${alone}/`, `${target}/`).replace(/^lockfile\t.*$/m, `lockfile\t${lockfile}`);
    writeFileSync(conf, own);
  });
  afterAll(() => {
    made.close();
    workplace.close();
  });

  const waitFor = async (path: string): Promise<void> => {
    while (!existsSync(path) || readFileSync(path).length === 0) await sleep(20);
  };

  /** What the snapshots show otherwise than those of rsnapshot alone; the root's own time is the store's. */
  const differences = (): string[] =>
    compareTrees(alone, target, { mergedOk: true })
      .filter(({ path }) => path !== ".")
      .map((each) => JSON.stringify(each));

  it("keep each other away by rsnapshot's lock", async () => {
    writeFileSync(join(target, "daily.0/new"), "n".repeat(100_000));
    const args = ["compact", "--rsnapshot-conf", conf];
    const { process: started, ended } = startDedupe([...args, "--bwlimit", "1k"]);
    await waitFor(lockfile);
    expect(readFileSync(lockfile, "utf8")).toBe(String(started.pid));
    const refused = spawnSync("rsnapshot", ["-c", conf, "daily"], { encoding: "utf8" });
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("exists and so does its process, can not continue");
    started.kill("SIGTERM");
    expect((await ended).code).toBe(143);
    expect(existsSync(lockfile)).toBe(false);

    const [script, slow, go] = ["wait.sh", "slow.conf", "go"].map((name) => join(workplace.path, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(script, `#!/bin/sh\nwhile [ ! -e ${go} ]; do sleep 0.05; done\n`);
    chmodSync(script, 0o755);
    writeFileSync(slow, readFileSync(conf));
    appendFileSync(slow, `cmd_preexec\t${script}\n`);
    const working = spawn("rsnapshot", ["-c", slow, "daily"], { stdio: "ignore" });
    const done = new Promise((resolve) => working.on("close", resolve));
    await waitFor(lockfile);
    const locked = dedupe(args);
    expect(locked.code).toBe(5);
    expect(locked.err).toContain(`rsnapshot is at work: process ${String(working.pid)} holds its lock`);
    writeFileSync(go, "");
    expect(await done).toBe(0);
    expect(dedupe(args).code).toBe(0);
    expect(existsSync(lockfile)).toBe(false);
  });

  it("end well side by side without it, and each snapshot is what rsnapshot alone makes of it", async () => {
    const [stop, codes, told] = ["stop", "codes", "told"].map((name) => join(workplace.path, name)) as [
      string,
      string,
      string,
    ];
    const script = `while [ ! -e "$4" ]; do "$1" "$2" compact -q --priority normal "$3" 2>> "$6"; echo $? >> "$5"; done`;
    const loop = spawn(
      "sh",
      ["-c", script, "sh", process.execPath, dedupeScript, target, stop, codes, told],
      {
        stdio: "ignore",
      },
    );
    const ended = new Promise((resolve) => loop.on("close", resolve));
    for (let round = 0; round < ROUNDS; round++) {
      made.change();
      made.backup(target);
      made.backup(alone);
      await sleep(10);
    }
    writeFileSync(stop, "");
    await ended;
    const all = readFileSync(codes, "utf8").trim().split("\n");
    expect(all.length).toBeGreaterThan(2);
    // What rsnapshot changed or removed in the meantime is left alone.
    expect(
      all.filter((code) => code !== "0"),
      readFileSync(told, "utf8"),
    ).toEqual([]);
    compactWell(target);
    expect(differences()).toEqual([]);
    expect(mismatches(target)).toEqual([]);
    expect(verify([target])).toMatchObject({ code: 0, found: [] });
  });
});
