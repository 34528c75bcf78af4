import type { Attributes, Xattr } from "./attributes.ts";

export const ACCESS_ACL = Buffer.from("system.posix_acl_access");

/** Sizes and tags of include/uapi/linux/posix_acl_xattr.h; an entry is tag 2, permissions 2, id 4. */
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const ACL_GROUP_OBJ = 0x04;
const ACL_MASK = 0x10;

export function isAccessAcl({ name }: Xattr): boolean {
  return name.equals(ACCESS_ACL);
}

/** Who has which access beyond the owner, the group and the others; undefined: nobody. */
export function accessAcl({ xattrs }: Pick<Attributes, "xattrs">): Buffer | undefined {
  return xattrs.find(isAccessAcl)?.value;
}

/**
 * The mode where the ACL is not (yet) there: beside an ACL the group's bits are its mask, the most that named users
 * and groups may have, which is not what the group itself has.
 */
export function modeWithoutAcl(attributes: Pick<Attributes, "mode" | "xattrs">): number {
  const acl = accessAcl(attributes);
  return acl === undefined ? attributes.mode : (attributes.mode & ~0o070) | (groupPermissions(acl) << 3);
}

function groupPermissions(acl: Buffer): number {
  let [group, mask] = [0, 7];
  for (let at = HEADER_BYTES; at + ENTRY_BYTES <= acl.length; at += ENTRY_BYTES) {
    const tag = acl.readUInt16LE(at);
    if (tag === ACL_GROUP_OBJ) group = acl.readUInt16LE(at + 2);
    else if (tag === ACL_MASK) mask = acl.readUInt16LE(at + 2);
  }
  return group & mask & 7;
}
