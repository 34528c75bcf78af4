import { createHash, randomBytes } from "node:crypto";
import { isAbsolute, resolve } from "node:path";
import { DedupeError } from "../errors.ts";
import type { VerifySummary } from "../report/events.ts";
import { exitCodes } from "../exit-codes.ts";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_CREAT, O_EXCL, O_WRONLY } from "../sys/constants.ts";
import { SysError, check, errno, isSysError } from "../sys/errors.ts";
import {
  openDirectory,
  openRoot,
  readFile,
  temporaryOf,
  writeFileDurably,
  type Kernel,
} from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { FilterRules } from "../tree/filter.ts";
import type { TreeRules } from "../verify/messages.ts";
import type { VerifyRun } from "./verify-run.ts";
import type { ReadStore } from "./verify-target.ts";

/** What a certificate is made from. */
export type CertificateBasis = { summary: VerifySummary; startedAt: Date; rules: TreeRules };

/** docs/cli.md, "Certificates". */
export type Certificate = {
  type: "dedupe-certificate";
  version: 1;
  tool: string;
  startedAt: string;
  finishedAt: string;
  source: string;
  target: string;
  names: number;
  directories: number;
  inodes: { source: number; target: number };
  contentBytes: number;
  mergedInodes: number;
  /** Differences that the target's filesystem, or the options of its store, account for. */
  notes: Record<string, number>;
  oneFileSystem: boolean;
  filter: StoredRule[];
  rootDigest: { source: string; target: string };
  /** SHA-256 of all of the above as one line of JSON: shows damage, not forgery. */
  checksum: string;
};

type StoredRule = Omit<FilterRules[number], "pattern"> & { pattern: string };

/** Proves, before anything is read, that the file which the user named can be made. @throws DedupeError */
export function tryCertificate({ writer, options: { certificate } }: VerifyRun): void {
  if (certificate === undefined) return;
  try {
    inPlaceOf(writer, certificate, (directory, name) => {
      const { sys, scratch } = writer;
      const stat = new Stat(sys);
      const found = sys.statx(directory, scratch.text(name), AT_SYMLINK_NOFOLLOW, stat.address);
      if (name === "" || (found === 0 && stat.isDirectory)) throw new SysError("openat", errno.EISDIR, name);
      const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
      const made = sys.openat(directory, scratch.text(temporaryOf(name)), flags, 0o600);
      // What a killed run left is written over.
      if (made === -errno.EEXIST) return;
      sys.close(check(made, "openat", name));
      sys.unlinkat(directory, scratch.text(temporaryOf(name)), 0);
    });
  } catch (cause) {
    if (!isSysError(cause)) throw cause;
    const { message, hint } = unwritable(certificate, cause);
    throw new DedupeError("CERTIFICATE", message, { hint, cause });
  }
}

function unwritable(certificate: string, { message }: SysError): { message: string; hint: string } {
  return {
    message: `the certificate ${certificate} cannot be written: ${message}`,
    hint: "Name a file in a directory that this user may write, and run again.",
  };
}

/** Writes the certificate of a pair of equal trees. A place that cannot be written is said. */
export function writeCertificate(
  run: VerifyRun,
  store: ReadStore | undefined,
  basis: CertificateBasis,
): Partial<Pick<VerifySummary, "certificate" | "outcome" | "exitCode" | "error">> {
  const content = Buffer.from(`${JSON.stringify(make(run, basis), null, 2)}\n`);
  const { certificate, target } = run.options;
  const stamp = basis.startedAt.toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const name = `verify-${stamp}-${randomBytes(2).toString("hex")}.json`;
  const inLog = `${target.replace(/(.)\/+$/, "$1")}/.dedupe/log/${name}`;
  try {
    if (certificate !== undefined) writeTo(run, certificate, content);
    else if (store === undefined) return tellUnwritten(run, "the target has no store to keep it in");
    else writeIntoLog(run, store, name, content);
    return { certificate: certificate ?? inLog };
  } catch (cause) {
    if (!isSysError(cause)) throw cause;
    if (certificate === undefined) return tellUnwritten(run, cause.message);
    const { message, hint } = unwritable(certificate, cause);
    const error = { code: "CERTIFICATE", message, hint: `The trees are equal. ${hint}` };
    return { outcome: "failed", exitCode: exitCodes.failed.code, error };
  }
}

function tellUnwritten({ context }: VerifyRun, why: string): { certificate?: string } {
  const message = `no certificate was written: ${why}; --certificate FILE puts it elsewhere`;
  context.reporter.emit({ type: "notice", level: "warning", code: "NO_CERTIFICATE", message });
  return {};
}

function writeIntoLog({ writer }: VerifyRun, store: ReadStore, name: string, content: Buffer): void {
  const logFd = openDirectory(writer, store.fd, "log");
  try {
    writeFileDurably(writer, logFd, name, content);
  } finally {
    writer.sys.close(logFd);
  }
}

function writeTo({ writer }: VerifyRun, path: string, content: Buffer): void {
  inPlaceOf(writer, path, (directory, name) => {
    writeFileDurably(writer, directory, name, content);
  });
}

function inPlaceOf(writer: Kernel, path: string, work: (directory: number, name: string) => void): void {
  const full = isAbsolute(path) ? path : resolve(path);
  const slash = full.lastIndexOf("/");
  const directory = openRoot(writer, full.slice(0, slash) || "/");
  try {
    work(directory, full.slice(slash + 1));
  } finally {
    writer.sys.close(directory);
  }
}

function make({ context }: VerifyRun, { summary, startedAt, rules }: CertificateBasis): Certificate {
  const { names, directories, contentBytes, mergedInodes, notes, rootDigest } = summary;
  const body = {
    type: "dedupe-certificate" as const,
    version: 1 as const,
    tool: `dedupe ${context.version}`,
    startedAt: startedAt.toISOString(),
    finishedAt: new Date().toISOString(),
    source: summary.source ?? "",
    target: summary.target,
    ...{ names, directories },
    inodes: { source: summary.inodes, target: summary.targetInodes },
    ...{ contentBytes, mergedInodes, notes },
    oneFileSystem: rules.oneFileSystem,
    filter: (rules.filter ?? []).map((rule) => ({
      ...rule,
      pattern: Buffer.from(rule.pattern).toString("base64"),
    })),
    rootDigest: { source: rootDigest?.source ?? "", target: rootDigest?.target ?? "" },
  };
  return { ...body, checksum: checksumOf(body) };
}

function checksumOf(body: Omit<Certificate, "checksum">): string {
  return createHash("sha256").update(JSON.stringify(body)).digest("hex");
}

/** @throws DedupeError (usage) when the file is no certificate, or a damaged one */
export function readCertificate({ kernel }: VerifyRun, path: string): Certificate {
  const { checksum, ...body } = parse(read(kernel, path), path);
  if (checksumOf(body) === checksum) return { ...body, checksum };
  throw refusal(path, "is damaged: its checksum does not fit");
}

function read(kernel: VerifyRun["kernel"], path: string): Buffer {
  try {
    const content = readFile(kernel, AT_FDCWD, path);
    if (content !== undefined) return content;
  } catch (cause) {
    if (!isSysError(cause)) throw cause;
    throw refusal(path, `cannot be read: ${cause.message}`);
  }
  throw refusal(path, "does not exist");
}

function parse(content: Buffer, path: string): Certificate {
  try {
    const value = JSON.parse(content.toString()) as Partial<Certificate> | null;
    if (value?.type === "dedupe-certificate" && typeof value.version === "number") {
      if ((value.version as number) !== 1)
        throw refusal(path, `is of version ${String(value.version)}, which this dedupe does not know`);
      return value as Certificate;
    }
  } catch (error) {
    if (error instanceof DedupeError) throw error;
  }
  throw refusal(path, "is no certificate of dedupe");
}

function refusal(path: string, what: string): DedupeError {
  return new DedupeError("CERTIFICATE", `the certificate ${path} ${what}`, {
    hint: "Name a file that `dedupe verify --against` has written.",
    exitCode: "usage",
  });
}

/** The filter that the trees were compared with. */
export function filterOf({ filter }: Certificate): FilterRules | undefined {
  if (filter.length === 0) return undefined;
  return filter.map((rule) => ({ ...rule, pattern: Buffer.from(rule.pattern, "base64") }));
}
