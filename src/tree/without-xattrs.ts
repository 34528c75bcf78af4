import { ACCESS_ACL, modeWithoutAcl } from "./acl.ts";
import {
  plainAttributes,
  type Attributes,
  type Metadata,
  type XattrCalls,
  type XattrDoor,
} from "./attributes.ts";

const ACL_PREFIX = "system.posix_acl_";

/** The same without xattrs, and with the mode that is right without the ACL. */
export function withoutXattrs(attributes: Attributes): Attributes {
  return plainAttributes({ ...attributes, mode: modeWithoutAcl(attributes) });
}

/**
 * What a directory that is there must be where xattrs are not looked at: it keeps its own. Its ACLs go where owner or
 * mode change, since a mask that is widened for the group would give more to those whom the ACL names.
 */
export function keepingXattrs(wanted: Attributes, actual: Attributes): Attributes {
  const { mode, uid, gid } = wanted;
  const { xattrs } = actual;
  if (modeWithoutAcl(actual) === mode && actual.uid === uid && actual.gid === gid)
    return { ...wanted, mode: actual.mode, xattrs };
  return { ...wanted, xattrs: xattrs.filter(({ name }) => !name.toString("latin1").startsWith(ACL_PREFIX)) };
}

/** `withoutXattrs` of `readAttributes` for one call at most: the ACL is read where it can matter. */
export function readWithoutXattrs(stat: Metadata, calls: XattrCalls, door: XattrDoor): Attributes {
  const plain = plainAttributes(stat);
  const acl = (plain.mode & 0o070) === 0 ? undefined : calls.get(door, ACCESS_ACL);
  return acl === undefined ? plain : withoutXattrs({ ...plain, xattrs: [{ name: ACCESS_ACL, value: acl }] });
}
