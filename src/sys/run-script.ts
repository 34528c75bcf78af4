import { execFileSync } from "node:child_process";

/** What a command of the user's own configuration prints, run by a shell as Perl's open("… |") does. @throws Error */
export function runScript(command: string): Buffer {
  return execFileSync("/bin/sh", ["-c", Buffer.from(command, "latin1").toString()], {
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 26,
  });
}
