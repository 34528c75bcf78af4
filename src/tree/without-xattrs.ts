import { ACCESS_ACL, modeWithoutAcl } from "./acl.ts";
import {
  plainAttributes,
  type Attributes,
  type Metadata,
  type XattrCalls,
  type XattrDoor,
} from "./attributes.ts";

/** The same without xattrs, and with the mode that is right without the ACL. */
export function withoutXattrs(attributes: Attributes): Attributes {
  return plainAttributes({ ...attributes, mode: modeWithoutAcl(attributes) });
}

/** `withoutXattrs` of `readAttributes` for one call at most: the ACL is read where it can matter. */
export function readWithoutXattrs(stat: Metadata, calls: XattrCalls, door: XattrDoor): Attributes {
  const plain = plainAttributes(stat);
  const acl = (plain.mode & 0o070) === 0 ? undefined : calls.get(door, ACCESS_ACL);
  return acl === undefined ? plain : withoutXattrs({ ...plain, xattrs: [{ name: ACCESS_ACL, value: acl }] });
}
