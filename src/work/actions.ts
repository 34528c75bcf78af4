import { SEEK_SET } from "../sys/constants.ts";
import { SysError, check, errno } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Memory, Sys } from "../sys/sys.ts";
import type { Seen } from "./seen.ts";
import type { StagedUpdate } from "./staged-name.ts";

/**
 * What is to be done to published directories once the batch is sealed: the plan of an update, kept in a file so
 * that memory stays flat (P6). A record is appended with one write; it concerns one name or one directory.
 *
 * put: the staged entry takes the name, which was `seen` when it was looked at; `newIno` is what it got in staging/
 * (0: not known).
 * remove: the name goes. tighten: the directory grants what it does not in the source; not any more once names are put
 * into it or below. attributes: the directory itself gets the source's metadata.
 */
export type Action =
  | ({ type: "put"; unit: number; directory: Buffer; name: Buffer } & StagedUpdate)
  | { type: "remove"; unit: number; directory: Buffer; name: Buffer; seen: Seen }
  | { type: "tighten" | "attributes"; unit: number; directory: Buffer };

const types = ["put", "remove", "attributes", "tighten"] as const;
/** length, type, unit, serial, new inode, lengths of the directory's path, the name and what was seen. */
const HEADER_BYTES = 4 + 4 + 4 + 4 + 8 + 4 + 4 + 4;

/** Appends with one write, so that records of several threads do not mix (O_APPEND). */
export function appendAction(sys: Sys, fd: number, action: Action): void {
  const name = "name" in action ? action.name : Buffer.alloc(0);
  const seen = Buffer.from("seen" in action ? action.seen : "");
  const sizeBytes = HEADER_BYTES + action.directory.length + name.length + seen.length;
  const memory = sys.allocate(sizeBytes);
  const { bytes } = memory;
  bytes.writeUInt32LE(sizeBytes, 0);
  bytes.writeUInt32LE(types.indexOf(action.type), 4);
  bytes.writeUInt32LE(action.unit, 8);
  bytes.writeUInt32LE(action.type === "put" ? action.serial : 0, 12);
  bytes.writeBigUInt64LE(action.type === "put" ? action.newIno : 0n, 16);
  let at = HEADER_BYTES;
  for (const [index, part] of [action.directory, name, seen].entries()) {
    bytes.writeUInt32LE(part.length, 24 + 4 * index);
    bytes.set(part, at);
    at += part.length;
  }
  const written = check(sys.write(fd, memory.address, sizeBytes), "write", "actions");
  // Half a record would make nonsense of those that follow it; a file takes less than it is given when all is full.
  if (written < sizeBytes) throw new SysError("write", errno.ENOSPC, "actions");
}

function decode(record: Buffer): Action {
  const unit = record.readUInt32LE(8);
  const nameAt = HEADER_BYTES + record.readUInt32LE(24);
  const seenAt = nameAt + record.readUInt32LE(28);
  const directory = Buffer.from(record.subarray(HEADER_BYTES, nameAt));
  const name = Buffer.from(record.subarray(nameAt, seenAt));
  const seen = record.toString("latin1", seenAt, seenAt + record.readUInt32LE(32));
  const type = types[record.readUInt32LE(4)];
  if (type === "put") {
    const [serial, newIno] = [record.readUInt32LE(12), record.readBigUInt64LE(16)];
    return { type, unit, directory, name, serial, seen, newIno };
  }
  if (type === "remove") return { type, unit, directory, name, seen };
  return { type: type ?? "attributes", unit, directory };
}

const CHUNK_BYTES = 1 << 18;

/** All actions in the file, in order; read in chunks. @throws SysError */
export function* readActions({ sys }: Kernel, fd: number): Generator<Action> {
  let memory: Memory = sys.allocate(CHUNK_BYTES);
  let at = 0;
  let held = 0;
  check(sys.lseek(fd, 0, SEEK_SET), "lseek");
  for (;;) {
    const got = check(
      sys.pread(fd, memory.address + held, memory.bytes.length - held, at),
      "read",
      "actions",
    );
    at += got;
    held += got;
    let from = 0;
    while (held - from >= 4 && held - from >= memory.bytes.readUInt32LE(from)) {
      const sizeBytes = memory.bytes.readUInt32LE(from);
      yield decode(memory.bytes.subarray(from, from + sizeBytes));
      from += sizeBytes;
    }
    memory.bytes.copyWithin(0, from, held);
    held -= from;
    if (got === 0) return;
    if (held >= 4 && memory.bytes.readUInt32LE(0) > memory.bytes.length) memory = grown(sys, memory, held);
  }
}

/** A path of a very deep directory may be longer than a chunk. */
function grown(sys: Sys, memory: Memory, held: number): Memory {
  const larger = sys.allocate(memory.bytes.readUInt32LE(0) + CHUNK_BYTES);
  memory.bytes.copy(larger.bytes, 0, 0, held);
  return larger;
}
