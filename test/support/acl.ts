/** ACL_USER_OBJ and so on, with the permissions of each; ids of those that name nobody are undefined (-1). */
type AclEntry = readonly [tag: number, permissions: number, id: number];

/** As xattrs of a tree literal: an ACL that gives user 1000 and the group these permissions, of a mode 0770. */
export function access(user: number, group: number): Record<string, string> {
  const nobody = 0xffffffff;
  const entries: readonly AclEntry[] = [
    [0x01, 7, nobody],
    [0x02, user, 1000],
    [0x04, group, nobody],
    [0x10, 7, nobody],
    [0x20, 0, nobody],
  ];
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2, 0);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + index * 8);
    bytes.writeUInt16LE(permissions, 6 + index * 8);
    bytes.writeUInt32LE(id, 8 + index * 8);
  }
  return { "system.posix_acl_access": asText(bytes) };
}

/** As in tree.ts: bytes beyond ASCII as lone surrogates. */
function asText(bytes: Buffer): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join("");
}
