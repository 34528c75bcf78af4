import { POSIX_FADV_DONTNEED } from "../sys/constants.ts";
import type { Memory, Sys } from "../sys/sys.ts";

/** A shorter file may lie within its inode, which stays in memory. */
const OWN_BLOCK_BYTES = 4096;

type Sample = { fd: number; device: number; isShort: boolean };

/**
 * Tells a source that has failed as a whole from bad places on one that else reads: a drive that is pulled out answers
 * EIO for every file, as a bad sector does for one. One thread's; holds two files open that it has read, the first and
 * the last, and reads from them again.
 */
export class SourceProbe {
  readonly #sys: Sys;
  readonly #byte: Memory;
  #first: Sample | undefined;
  #last: Sample | undefined;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#byte = sys.allocate(8);
  }

  /** Takes over the descriptor of a file that was read to its end. */
  keep(fd: number, device: number, sizeBytes: number): void {
    const sample = { fd, device, isShort: sizeBytes < OWN_BLOCK_BYTES };
    if (!this.#isUseful(this.#first, sample)) this.#first = this.#replace(this.#first, sample);
    else if (sample.isShort && this.#last?.isShort === false && this.#last.device === device)
      this.#close(sample);
    else this.#last = this.#replace(this.#last, sample);
  }

  #isUseful(first: Sample | undefined, { device, isShort }: Sample): boolean {
    return first?.device === device && (isShort || !first.isShort);
  }

  #replace(old: Sample | undefined, sample: Sample): Sample {
    if (old !== undefined) this.#close(old);
    return sample;
  }

  #close({ fd }: Sample): void {
    this.#sys.close(fd);
  }

  /** Whether nothing that was read from the filesystem can be read any more; false where nothing was. */
  isGone(device: number): boolean {
    const samples = [this.#first, this.#last].filter((sample) => sample?.device === device);
    return samples.length > 0 && samples.every((sample) => sample !== undefined && !this.#isReadable(sample));
  }

  /** From the device: what is in the page cache tells nothing. All of it, since a part of a large folio stays. */
  #isReadable({ fd }: Sample): boolean {
    this.#sys.fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return this.#sys.pread(fd, this.#byte.address, 1, 0) >= 0;
  }
}
