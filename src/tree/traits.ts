import {
  AT_EMPTY_PATH,
  BTRFS_SUPER_MAGIC,
  EXT_SUPER_MAGIC,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  TMPFS_MAGIC,
  XFS_SUPER_MAGIC,
} from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Scratch } from "../sys/scratch.ts";
import { Stat } from "../sys/stat.ts";
import type { Memory, Sys } from "../sys/sys.ts";
import { accessAcl, modeWithoutAcl } from "./acl.ts";
import type { Attributes, Xattr, XattrCalls } from "./attributes.ts";
import { TimesBuffer } from "./times.ts";

const NS_PER_SECOND = 1_000_000_000n;

/** What the target's filesystem and this user can hold, found by trial. Plain data: it travels to the workers. */
export type TargetTraits = {
  /** Times are floored to a multiple of this. */
  granularityNs: bigint;
  earliestSeconds: bigint;
  latestSeconds: bigint;
  /** Name prefixes of the xattrs that can be set here. */
  xattrPrefixes: string[];
  /** New files get xattrs of their own (a security module's labels). */
  addsXattrs: boolean;
  /** uid 0: may give files to others. */
  isRoot: boolean;
  euid: number;
  egid: number;
  groups: number[];
  linkLimit: number;
};

/**
 * Links that one inode may have, by filesystem type: a hint for headroom only, EMLINK is the truth. Measured on
 * ext4 (which also serves ext3) and btrfs; others are taken as unlimited until they say EMLINK.
 */
export const linkLimits = new Map([
  [EXT_SUPER_MAGIC, 65_000],
  [BTRFS_SUPER_MAGIC, 65_535],
]);

/** Filesystems where getdents' d_ino is st_ino for everything but mount points. */
const trustedMagics = new Set([EXT_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC]);

/** f_type of the filesystem behind `fd` (struct statfs begins with it on 64-bit). */
export function filesystemMagic(sys: Sys, fd: number, memory: Memory): number {
  check(sys.fstatfs(fd, memory.address), "fstatfs");
  return memory.bytes.readUInt32LE(0);
}

export function trustsDirentIno(magic: number): boolean {
  return trustedMagics.has(magic);
}

/** Attributes as the target will give them back, and what is lost of them. */
export type Held = { attributes: Attributes; lostOwner: boolean; lostTime: boolean; lostXattrs: number };

/** Predicts what an inode with these attributes will look like on the target (P5: "as the target is able to hold them"). */
export function asHeld(wanted: Attributes, traits: TargetTraits): Held {
  const xattrs = wanted.xattrs.filter((xattr) => isSettable(xattr, traits));
  const uid = traits.isRoot ? wanted.uid : traits.euid;
  const mayGiveGroup = traits.isRoot || wanted.gid === traits.egid || traits.groups.includes(wanted.gid);
  const gid = mayGiveGroup ? wanted.gid : traits.egid;
  const mode = accessAcl({ xattrs }) === undefined ? modeWithoutAcl(wanted) : wanted.mode;
  const mtimeNs = heldTime(wanted.mtimeNs, traits);
  return {
    attributes: {
      mode: heldMode(mode, uid === wanted.uid, gid === wanted.gid),
      uid,
      gid,
      mtimeNs,
      xattrs: xattrs.length === wanted.xattrs.length ? wanted.xattrs : xattrs,
    },
    lostOwner: uid !== wanted.uid || gid !== wanted.gid,
    // What is rounded is the target's way with all times, and said once.
    lostTime: mtimeNs > wanted.mtimeNs || wanted.mtimeNs - mtimeNs >= traits.granularityNs,
    lostXattrs: wanted.xattrs.length - xattrs.length + (wanted.deniedXattrs ?? 0),
  };
}

/** setuid and setgid must not pass to another owner: they would grant what the source did not. */
function heldMode(mode: number, ownerKept: boolean, groupKept: boolean): number {
  return mode & (ownerKept ? ~0 : ~0o4000) & (groupKept ? ~0 : ~0o2000);
}

export function heldTime(timeNs: bigint, traits: TargetTraits): bigint {
  const earliest = traits.earliestSeconds * NS_PER_SECOND;
  const latest = traits.latestSeconds * NS_PER_SECOND;
  if (timeNs <= earliest) return earliest;
  if (timeNs >= latest) return latest;
  const below = timeNs % traits.granularityNs;
  return timeNs - (below < 0n ? below + traits.granularityNs : below);
}

function isSettable({ name }: Xattr, traits: TargetTraits): boolean {
  return traits.xattrPrefixes.some((prefix) => name.toString("latin1", 0, prefix.length) === prefix);
}

type Probe = { sys: Sys; scratch: Scratch; xattrs: XattrCalls; dirFd: number };

/**
 * Tries on a file of its own, in `dirFd`, what the target can hold. The file is removed in all cases.
 * @throws SysError when the file cannot be made at all.
 */
export function probeTraits(probe: Probe): TargetTraits {
  const { sys, scratch, dirFd } = probe;
  const name = Buffer.from("probe");
  sys.unlinkat(dirFd, scratch.at(name), 0);
  const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
  const fd = check(sys.openat(dirFd, scratch.at(name), flags, 0o600), "openat", name);
  try {
    const addsXattrs = probe.xattrs.read({ fd }).length > 0;
    const memory = sys.allocate(4 * 65_536);
    const groups = Math.max(0, sys.getgroups(65_536, memory.address));
    const euid = sys.geteuid();
    return {
      ...probeTimes(probe, fd),
      xattrPrefixes: probeXattrs(probe, fd),
      addsXattrs,
      isRoot: euid === 0,
      euid,
      egid: sys.getegid(),
      groups: Array.from({ length: groups }, (_, index) => memory.bytes.readUInt32LE(index * 4)),
      linkLimit: linkLimits.get(filesystemMagic(sys, fd, memory)) ?? 0,
    };
  } finally {
    sys.close(fd);
    sys.unlinkat(dirFd, scratch.at(name), 0);
  }
}

/** The kernel floors times to the granularity and clamps them to the range (timestamp_truncate, since Linux 5.4). */
function probeTimes({ sys, scratch }: Probe, fd: number) {
  const stat = new Stat(sys);
  const times = new TimesBuffer(sys);
  const heldBy = (timeNs: bigint): bigint => {
    check(sys.futimens(fd, times.withMtime(timeNs)), "utimensat");
    check(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address), "statx");
    return stat.mtimeNs;
  };
  const nanoseconds = heldBy(1_111_111_111n * NS_PER_SECOND + 123_456_789n) % NS_PER_SECOND;
  const centuries = 400n * 365n * 86_400n * NS_PER_SECOND;
  return {
    granularityNs: granularityOf(nanoseconds),
    earliestSeconds: heldBy(-centuries) / NS_PER_SECOND,
    latestSeconds: heldBy(20n * centuries) / NS_PER_SECOND,
  };
}

/** What is left of .123456789 tells the granularity: a power of ten, or whole or even seconds. */
function granularityOf(nanoseconds: bigint): bigint {
  if (nanoseconds === 0n) return NS_PER_SECOND;
  for (let unit = 1n; unit < NS_PER_SECOND; unit *= 10n) {
    if (123_456_789n - (123_456_789n % unit) === nanoseconds && nanoseconds % (unit * 10n) !== 0n)
      return unit;
  }
  return 1n;
}

/** An ACL that says no more than mode 0600 does: version 2, owner, group, others. */
const minimalAcl = Buffer.from("0200000001000600ffffffff04000000ffffffff20000000ffffffff", "hex");
/** VFS_CAP_REVISION_2 with nothing permitted (include/uapi/linux/capability.h). */
const emptyCapability = Buffer.from("0000000200000000000000000000000000000000", "hex");

function probeXattrs({ xattrs }: Probe, fd: number): string[] {
  const trials: [string, string, Buffer][] = [
    ["user.", "user.dedupe", Buffer.from("x")],
    ["trusted.", "trusted.dedupe", Buffer.from("x")],
    ["security.capability", "security.capability", emptyCapability],
    ["system.posix_acl_", "system.posix_acl_access", minimalAcl],
    ["security.", "security.dedupe", Buffer.from("x")],
  ];
  const settable: string[] = [];
  for (const [prefix, name, value] of trials) {
    const result = xattrs.set({ fd }, { name: Buffer.from(name), value });
    // A target that has no room would take it if it had.
    const isNoRoom = result === -errno.ENOSPC || result === -errno.EDQUOT;
    if (result === 0 || isNoRoom) settable.push(prefix);
    else if (!isAttributeRefusal(result)) check(result, "setxattr");
  }
  return settable;
}

/** errnos that mean "this attribute cannot be kept here", as opposed to a broken target. */
export function isAttributeRefusal(result: number): boolean {
  const { EPERM, EOPNOTSUPP, EINVAL, ENOSPC, ERANGE, E2BIG, EACCES, EDQUOT } = errno;
  return [EPERM, EOPNOTSUPP, EINVAL, ENOSPC, ERANGE, E2BIG, EACCES, EDQUOT].includes(-result);
}
