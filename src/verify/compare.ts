import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK } from "../sys/constants.ts";
import type { Facts } from "./inode-reader.ts";
import {
  GROUP_EXPLAINED,
  LAYOUT_EXPLAINED,
  MODE_EXPLAINED,
  OWNER_EXPLAINED,
  TIME_EXPLAINED,
  XATTRS_EXPLAINED,
} from "./ledger-row.ts";
import { heldTime, type Limits } from "./limits.ts";
import type { XattrPair } from "./xattr-reader.ts";

/** What may differ between two trees. docs/cli.md, "Comparing with the source", explains each. */
export type DifferenceClass =
  | "missing"
  | "extra"
  | "type"
  | "size"
  | "content"
  | "mode"
  | "owner"
  | "group"
  | "mtime"
  | "xattr"
  | "acl"
  | "capability"
  | "symlink-target"
  | "device"
  | "holes"
  | "split"
  | "merged"
  // Said, and no findings:
  | "time-limit"
  | "ignored"
  | "siblings"
  | "holes-merged"
  | "root-time";

export type Difference = {
  class: DifferenceClass;
  /** What it is in each tree, for people. */
  source?: string;
  target?: string;
  /** Which attribute. */
  name?: string;
};

/** What the target's store does not compare, from its format.json; all true where there is no store. */
export type ComparedAttributes = { mode: boolean; owner: boolean; time: boolean; xattrs: boolean };

const typeNames = new Map([
  [S_IFREG, "file"],
  [S_IFDIR, "directory"],
  [S_IFLNK, "symlink"],
  [S_IFIFO, "fifo"],
  [S_IFSOCK, "socket"],
  [S_IFCHR, "character device"],
  [S_IFBLK, "block device"],
]);

export const typeName = (type: number): string => typeNames.get(type) ?? `type ${type.toString(8)}`;

/** All that differs but for content, holes and links. The types are the same. */
export function compareFacts(source: Facts, target: Facts, limits: Limits): Difference[] {
  return [
    ...unequal("size", source.type === S_IFREG, String(source.sizeBytes), String(target.sizeBytes)),
    ...unequal("mode", isModeCompared(source, target), octal(source.mode), octal(target.mode)),
    ...unequal("owner", true, String(source.uid), String(target.uid)),
    ...unequal("group", true, String(source.gid), String(target.gid)),
    ...compareTimes(source.mtimeNs, target.mtimeNs, limits),
    ...compareXattrs(source.xattrs, target.xattrs),
    ...unequal("symlink-target", source.type === S_IFLNK, source.linkTarget, target.linkTarget),
    ...unequal("device", isDevice(source.type), deviceText(source), deviceText(target)),
  ];
}

function unequal(name: DifferenceClass, isCompared: boolean, source: string, target: string): Difference[] {
  return isCompared && source !== target ? [{ class: name, source, target }] : [];
}

/** Where the ACL is lost that is said, and the group's bits may be what the group had by it: beside an ACL they are its mask. */
function isModeCompared(source: Facts, target: Facts): boolean {
  return source.type !== S_IFLNK && target.mode !== modeWithoutAcl(source, target);
}

const ACCESS_ACL = "system.posix_acl_access";
/** include/uapi/linux/posix_acl_xattr.h: a header of 4 bytes, then entries of tag 2, permissions 2, id 4. */
const ACL_HEADER_BYTES = 4;
const ACL_ENTRY_BYTES = 8;
const ACL_GROUP_OBJ = 0x04;
const ACL_MASK = 0x10;

/** undefined: no ACL is lost. */
function modeWithoutAcl(source: Facts, target: Facts): number | undefined {
  const acl = new Map(source.xattrs).get(ACCESS_ACL);
  if (acl === undefined || new Map(target.xattrs).has(ACCESS_ACL)) return undefined;
  const permissions = new Map<number, number>();
  for (let at = ACL_HEADER_BYTES; at + ACL_ENTRY_BYTES <= acl.length; at += ACL_ENTRY_BYTES)
    permissions.set(acl.charCodeAt(at), acl.charCodeAt(at + 2));
  const group = (permissions.get(ACL_GROUP_OBJ) ?? 0) & (permissions.get(ACL_MASK) ?? 7);
  return (source.mode & ~0o070) | (group << 3);
}

const octal = (mode: number): string => mode.toString(8).padStart(4, "0");
const isDevice = (type: number): boolean => type === S_IFCHR || type === S_IFBLK;
const deviceText = ({ rdevMajor, rdevMinor }: Facts): string => `${String(rdevMajor)}:${String(rdevMinor)}`;

function compareTimes(source: bigint, target: bigint, limits: Limits): Difference[] {
  if (source === target) return [];
  const name = target === heldTime(source, limits) ? "time-limit" : "mtime";
  return [{ class: name, source: timeText(source), target: timeText(target) }];
}

/** Seconds since 1970 with all nine digits, as `stat -c %.9Y` has them. */
export function timeText(timeNs: bigint): string {
  const absolute = timeNs < 0n ? -timeNs : timeNs;
  const digits = String(absolute).padStart(10, "0");
  return `${timeNs < 0n ? "-" : ""}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

function compareXattrs(source: readonly XattrPair[], target: readonly XattrPair[]): Difference[] {
  if (source.length === 0 && target.length === 0) return [];
  const [ours, theirs] = [new Map(source), new Map(target)];
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .filter((name) => ours.get(name) !== theirs.get(name))
    .map((name) => ({
      class: xattrClass(name),
      name,
      source: valueText(ours.get(name)),
      target: valueText(theirs.get(name)),
    }));
}

function xattrClass(name: string): DifferenceClass {
  if (name.startsWith("system.posix_acl_")) return "acl";
  return name === "security.capability" ? "capability" : "xattr";
}

const SHOWN_BYTES = 64;

function valueText(value: string | undefined): string {
  if (value === undefined) return "none";
  const hex = Buffer.from(value.slice(0, SHOWN_BYTES), "latin1").toString("hex");
  return `0x${hex}${value.length > SHOWN_BYTES ? "…" : ""} (${String(value.length)} bytes)`;
}

type Explanation = { flag: number; attribute: keyof ComparedAttributes };

const explanations = new Map<DifferenceClass, Explanation>([
  ["mtime", { flag: TIME_EXPLAINED, attribute: "time" }],
  ["mode", { flag: MODE_EXPLAINED, attribute: "mode" }],
  ["owner", { flag: OWNER_EXPLAINED, attribute: "owner" }],
  ["group", { flag: GROUP_EXPLAINED, attribute: "owner" }],
  ["xattr", { flag: XATTRS_EXPLAINED, attribute: "xattrs" }],
  ["acl", { flag: XATTRS_EXPLAINED, attribute: "xattrs" }],
  ["capability", { flag: XATTRS_EXPLAINED, attribute: "xattrs" }],
]);

/** The flag of a target inode's row that explains such a difference; 0: nothing does. */
export function explanationOf(name: DifferenceClass): number {
  return name === "holes" ? LAYOUT_EXPLAINED : (explanations.get(name)?.flag ?? 0);
}

/**
 * Attributes that the target's store was told not to compare, as flags. Of files that became one inode the survivor
 * gave its value to all: where a source inode of the same target inode has it, a difference is said and is no finding.
 */
export function ignoredOf(source: Facts, compared: ComparedAttributes): number {
  if (source.type !== S_IFREG || source.sizeBytes === 0) return 0;
  const ignored = [...explanations.values()].filter(({ attribute }) => !compared[attribute]);
  return ignored.reduce((flags, { flag }) => flags | flag, 0);
}

/** What a difference is said as once it is explained. */
export function explained(difference: {
  class: DifferenceClass;
  name?: string | undefined;
}): Pick<Difference, "class" | "name"> {
  if (difference.class === "holes") return { class: "holes-merged" };
  return { name: difference.name ?? difference.class, class: "ignored" };
}

const allowed: ReadonlySet<DifferenceClass> = new Set([
  "time-limit",
  "ignored",
  "siblings",
  "holes-merged",
  "root-time",
]);

export const isAllowed = (name: DifferenceClass): boolean => allowed.has(name);
