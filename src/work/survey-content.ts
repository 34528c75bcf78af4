import { SEEK_DATA, SEEK_HOLE } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Sys } from "../sys/sys.ts";

/** How many of the file's first `sizeBytes` are no hole: what a copy writes. @throws SysError */
export function dataBytesOf(sys: Sys, fd: number, sizeBytes: number): number {
  let dataBytes = 0;
  for (let at = 0; at < sizeBytes;) {
    const data = sys.lseek(fd, at, SEEK_DATA);
    if (data === -errno.ENXIO) return dataBytes;
    // A filesystem without SEEK_DATA: all is data.
    if (data < 0) return dataBytes + sizeBytes - at;
    if (data >= sizeBytes) return dataBytes;
    const hole = Math.min(sizeBytes, check(sys.lseek(fd, data, SEEK_HOLE), "read"));
    if (hole <= data) return dataBytes + sizeBytes - data;
    dataBytes += hole - data;
    at = hole;
  }
  return dataBytes;
}
