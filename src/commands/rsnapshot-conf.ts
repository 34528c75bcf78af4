import { DedupeError } from "../errors.ts";
import { AT_FDCWD } from "../sys/constants.ts";
import { isSysError } from "../sys/errors.ts";
import { readNamedFile, type Kernel } from "../sys/files.ts";
import { runScript } from "../sys/run-script.ts";
import { Stat } from "../sys/stat.ts";

/** What rsnapshot's configuration says of its lock; paths are bytes. */
export type RsnapshotConf = {
  snapshotRoot: Buffer | undefined;
  lockfile: Buffer | undefined;
  stopsOnStaleLock: boolean;
};

/** include_conf may lead in a circle. */
const DEPTH_MOST = 16;

/**
 * Reads the file as rsnapshot 1.4's parse_config_file does: words are separated by tabs, lines that begin with a blank
 * belong to the one before, the last of several values counts, and include_conf names a file or a `script`.
 * @throws DedupeError
 */
export function readRsnapshotConf(kernel: Kernel, path: string): RsnapshotConf {
  const conf: RsnapshotConf = { snapshotRoot: undefined, lockfile: undefined, stopsOnStaleLock: false };
  parse({ kernel, conf, file: path, depth: 0 }, readConf(kernel, Buffer.from(path), path));
  return conf;
}

type Parsing = { kernel: Kernel; conf: RsnapshotConf; file: string; depth: number };

function parse(parsing: Parsing, content: Buffer): void {
  // Names are bytes: each is a character of the same number.
  const lines = content.toString("latin1").split("\n");
  for (let at = 0; at < lines.length;) {
    let line = lines[at++] ?? "";
    const number = at;
    if (line.startsWith("#") || !/[^ \t\r\f\v]/.test(line)) continue;
    for (; /^[\t ]+[^ \t\r\f\v]/.test(lines[at] ?? ""); at++)
      line += `\t${(lines[at] ?? "").replace(/^[ \t\r\f\v]+|[ \t\r\f\v]+$/g, "")}`;
    take(parsing, line, number);
  }
}

const wanted = /^(snapshot_root|lockfile|stop_on_stale_lockfile|include_conf)(?![^ \t])/;

function take(parsing: Parsing, line: string, number: number): void {
  const word = wanted.exec(line)?.[1];
  if (word === undefined) return;
  const value = /^[^\t]*\t+([^\t]*)/.exec(line)?.[1];
  const wrong = (what: string): DedupeError => invalid(`${parsing.file}, line ${number}`, what);
  if (value === undefined || line.startsWith(`${word} `)) throw wrong("words are separated by tabs");
  switch (word) {
    case "include_conf":
      include(parsing, value, wrong);
      return;
    case "stop_on_stale_lockfile":
      if (!/^0*[01]$/.test(value)) throw wrong("stop_on_stale_lockfile must be 0 or 1");
      parsing.conf.stopsOnStaleLock = Number(value) === 1;
      return;
    case "lockfile":
      if (!isFullPath(value)) throw wrong("lockfile must be a full path");
      parsing.conf.lockfile = Buffer.from(value, "latin1");
      return;
    case "snapshot_root":
      if (!isFullPath(value)) throw wrong("snapshot_root must be a full path");
      parsing.conf.snapshotRoot = Buffer.from(value.replace(/(.)\/+$/, "$1"), "latin1");
  }
}

/** rsnapshot's is_valid_local_abs_path. */
const isFullPath = (path: string): boolean =>
  path.startsWith("/") && !path.includes("/..") && !path.includes("../");

function include(parsing: Parsing, value: string, wrong: (what: string) => DedupeError): void {
  const { kernel, depth } = parsing;
  if (depth >= DEPTH_MOST) throw wrong("include_conf leads in a circle");
  const script = /^`(.*)`$/.exec(value)?.[1];
  const inner = { ...parsing, file: Buffer.from(value, "latin1").toString(), depth: depth + 1 };
  if (script === undefined) {
    const path = Buffer.from(value, "latin1");
    if (!isFile(kernel, path)) throw wrong(`can't find or read file '${inner.file}'`);
    parse(inner, readConf(kernel, path, inner.file));
    return;
  }
  const program = script.split(/\s+/)[0] ?? "";
  if (!isFullPath(program) || !isFile(kernel, Buffer.from(program, "latin1")))
    throw wrong(`not a valid script: '${script}'`);
  parse(inner, output(script, wrong));
}

function output(script: string, wrong: (what: string) => DedupeError): Buffer {
  try {
    return runScript(script);
  } catch (error) {
    throw wrong(`the script '${script}' failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function isFile(kernel: Kernel, path: Buffer): boolean {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  return sys.statx(AT_FDCWD, scratch.at(path), 0, stat.address) === 0 && stat.isRegular;
}

function readConf(kernel: Kernel, path: Buffer, shown: string): Buffer {
  try {
    return readNamedFile(kernel, path);
  } catch (error) {
    if (!isSysError(error)) throw error;
    throw invalid(shown, error.message);
  }
}

function invalid(where: string, what: string): DedupeError {
  return new DedupeError("RSNAPSHOT_CONF", `rsnapshot's configuration cannot be used: ${where}: ${what}`, {
    hint: "Name the file that rsnapshot uses, and see what 'rsnapshot configtest' says of it.",
    exitCode: "usage",
  });
}
