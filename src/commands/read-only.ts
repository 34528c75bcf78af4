import { DedupeError } from "../errors.ts";
import type { MigrateOptions } from "../options.ts";
import { check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Sys } from "../sys/sys.ts";
import type { Root } from "./preflight.ts";

/** struct statfs on 64-bit: f_flags follows ten 8-byte fields; ST_RDONLY is 1 (statfs(2)). */
const STATFS_FLAGS_AT = 80;
const ST_RDONLY = 1n;

function isReadOnly(sys: Sys, { fd, path }: Root): boolean {
  const memory = sys.allocate(256);
  check(sys.fstatfs(fd, memory.address), "fstatfs", path);
  return (memory.bytes.readBigUInt64LE(STATFS_FLAGS_AT) & ST_RDONLY) !== 0n;
}

/** A full disk is not written to before everything was read. @throws SysError */
export function refuseReadOnlyRoot({ sys }: Kernel, root: Root): void {
  if (isReadOnly(sys, root)) check(-errno.EROFS, "open", root.path);
}

/** @throws DedupeError before hours of copying, where nothing could be removed afterwards */
export function refuseReadOnlySource({ sys }: Kernel, source: Root, options: MigrateOptions): void {
  if (!options.removeSourceFiles || options.dryRun) return;
  if (!isReadOnly(sys, source)) return;
  throw new DedupeError(
    "SOURCE_READ_ONLY",
    `the source ${source.path} is mounted read-only: --remove-source-files cannot remove anything there`,
    { hint: "Mount it writable (mount -o remount,rw), or leave the option out." },
  );
}
