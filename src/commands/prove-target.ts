/** What a target's filesystem must be able to do, shown by doing it in the store's tmp/. */
import { AT_SYMLINK_NOFOLLOW, RENAME_EXCHANGE, RENAME_NOREPLACE } from "../sys/constants.ts";
import { SysError, check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { readMounts } from "../tree/mounts.ts";
import { takesNoFlags } from "../work/exchange.ts";
import { foldsNames, noHardLinks, noPublishing, type Notice, type Root } from "./preflight.ts";

/** Makes an empty file of each name for as long as `work` runs. @throws SysError */
function withFiles<T>({ sys, scratch }: Kernel, dirFd: number, names: readonly Buffer[], work: () => T): T {
  const remove = (): void => {
    for (const name of names) sys.unlinkat(dirFd, scratch.at(name), 0);
  };
  remove();
  try {
    for (const name of names) check(sys.mknodat(dirFd, scratch.at(name), 0o100600, 0), "mknodat", name);
    return work();
  } finally {
    remove();
  }
}

/** FAT, exFAT and some network filesystems have no hard links. @throws DedupeError, SysError */
export function proveHardLinks(kernel: Kernel, dirFd: number, target: Root): void {
  const { sys, scratch } = kernel;
  const [one, two] = [Buffer.from("link-probe.1"), Buffer.from("link-probe.2")];
  sys.unlinkat(dirFd, scratch.at(two), 0);
  const linked = withFiles(kernel, dirFd, [one], () => {
    const result = sys.linkat(dirFd, scratch.at(one), dirFd, scratch.at(two), 0);
    sys.unlinkat(dirFd, scratch.at(two), 0);
    return result;
  });
  if (linked === 0) return;
  throw noHardLinks(target.path, typeOf(kernel, target), new SysError("linkat", -linked, two));
}

/** What names need before snapshots are published under them. @throws DedupeError, SysError */
export function provePublishing(kernel: Kernel, dirFd: number, target: Root): Notice[] {
  proveRename(kernel, dirFd, target);
  proveNames(kernel, dirFd, target);
  return aboutExchange(kernel, dirFd, target);
}

/** A snapshot is published by a rename that must not replace anything, which not every filesystem can. */
function proveRename(kernel: Kernel, dirFd: number, target: Root): void {
  const { sys, scratch } = kernel;
  const [one, two] = [Buffer.from("rename-probe.1"), Buffer.from("rename-probe.2")];
  sys.unlinkat(dirFd, scratch.at(two), 0);
  const renamed = withFiles(kernel, dirFd, [one], () => {
    const result = sys.renameat2(dirFd, scratch.at(one), dirFd, scratch.at(two), RENAME_NOREPLACE);
    sys.unlinkat(dirFd, scratch.at(two), 0);
    return result;
  });
  if (takesNoFlags(renamed)) throw noPublishing(target.path, typeOf(kernel, target));
}

/**
 * Two names that the target takes for one would replace each other: `a` and `A`, or the two spellings of é that Unicode
 * has.
 */
function proveNames(kernel: Kernel, dirFd: number, target: Root): void {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const isThere = (name: string): boolean =>
    sys.statx(dirFd, scratch.text(name), AT_SYMLINK_NOFOLLOW, stat.address) === 0;
  const isFolded = withFiles(kernel, dirFd, [Buffer.from("name-probe.\u00e9")], () =>
    ["NAME-PROBE.\u00e9", "name-probe.e\u0301"].some(isThere),
  );
  if (isFolded) throw foldsNames(target.path);
}

/** Without it a name could be lost to who replaces it at the same moment. @throws SysError */
export function aboutExchange(kernel: Kernel, dirFd: number, target: Root): Notice[] {
  const { sys, scratch } = kernel;
  const [one, two] = [Buffer.from("exchange-probe.1"), Buffer.from("exchange-probe.2")];
  const result = withFiles(kernel, dirFd, [one, two], () =>
    sys.renameat2(dirFd, scratch.at(one), dirFd, scratch.at(two), RENAME_EXCHANGE),
  );
  if (result === 0) return [];
  const message = `the filesystem of ${target.path} cannot exchange two names at once: names are looked at and then renamed over, so let no other program replace files there meanwhile`;
  return [{ level: "warning", code: "NO_EXCHANGE", message }];
}

function typeOf(kernel: Kernel, target: Root): string {
  return readMounts(kernel).find(({ device }) => device === target.device)?.type ?? "a file system";
}
