import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseCommandLine } from "../../src/cli/command-line.ts";
import { repositoryRoot } from "../support/repository-root.ts";
import { requireTool } from "../support/skip.ts";

const folder = join(repositoryRoot, "docs", "systemd");
const files = readdirSync(folder);
const units = files.filter((name) => /\.(service|timer)$/.test(name)).map((name) => join(folder, name));

describe("docs/systemd", () => {
  it.skipIf(!requireTool("systemd-analyze"))("has units that systemd finds nothing wrong with", () => {
    const { status, stderr } = spawnSync("systemd-analyze", ["verify", ...units], { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it.skipIf(!requireTool("systemd-analyze"))("has a timer that comes once a day", () => {
    const [, calendar = ""] =
      /^OnCalendar=(.*)$/m.exec(readFileSync(join(folder, "dedupe.timer"), "utf8")) ?? [];
    const said = spawnSync("systemd-analyze", ["calendar", "--iterations=2", calendar], {
      encoding: "utf8",
      env: { ...process.env, TZ: "UTC" },
    });
    const days = [...said.stdout.matchAll(/^ *(?:Next elapse|Iter\. #2|Iteration #2): \w+ (\S+)/gm)].map(
      (match) => Date.parse(match[1]!),
    );
    expect(days[1]! - days[0]!).toBe(86_400_000);
  });

  it("runs verify with options that it has", () => {
    const commands = files.flatMap((name) =>
      [...readFileSync(join(folder, name), "utf8").matchAll(/dedupe (verify [^\n;']*)/g)].map(
        (match) => match[1]!,
      ),
    );
    expect(commands.length).toBeGreaterThan(1);
    for (const command of commands) {
      const argv = command.trim().split(" ");
      const parsed = parseCommandLine({ argv, version: "0", print: () => undefined, helpColumns: 80 });
      expect(parsed).toMatchObject({
        command: "verify",
        slice: { number: "next", of: 30 },
        target: undefined,
      });
    }
  });

  it("looks for dedupe where npm puts it when cron runs rsnapshot", () => {
    const line = readFileSync(join(folder, "rsnapshot-postexec.conf"), "utf8");
    const command = /^cmd_postexec\t(.*) dedupe compact .*$/m.exec(line)![1]!;
    const { stdout } = spawnSync("/bin/sh", ["-c", `${command} printenv PATH`], {
      encoding: "utf8",
      env: { PATH: "/usr/bin:/bin" },
    });
    expect(stdout.trim().split(":")).toContain("/usr/local/bin");
  });

  it("is told of in docs/maintenance.md", () => {
    const docs = readFileSync(join(repositoryRoot, "docs", "maintenance.md"), "utf8");
    expect(files.filter((name) => !docs.includes(name))).toEqual([]);
  });
});
