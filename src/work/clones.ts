import { O_CLOEXEC, O_CREAT, O_EXCL, O_WRONLY } from "../sys/constants.ts";
import { onTarget } from "./errors.ts";
import { updateName } from "./staged-name.ts";
import type { Thread } from "./thread.ts";

/**
 * From which of the source's devices the target can share extents, found by a trial with the first file that is worth
 * it: each subvolume of a btrfs has a device number of its own.
 */
export class Clones {
  readonly #thread: Thread;
  readonly #isPossible = new Map<number, boolean>();

  constructor(thread: Thread) {
    this.#thread = thread;
  }

  /** `fd`: a file of the device. Of the target's own, cloning each file tells. */
  mayBePossible(device: number, fd: number): boolean {
    if (device === this.#thread.rules.targetDevice) return true;
    let known = this.#isPossible.get(device);
    if (known === undefined) {
      known = this.#try(fd);
      this.#isPossible.set(device, known);
    }
    return known;
  }

  #try(fromFd: number): boolean {
    const { sys, scratch, stagingFd, control, content } = this.#thread;
    const name = updateName({ serial: control.nextSerial(), seen: "", newIno: 0n });
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
    const toFd = onTarget(sys.openat(stagingFd, scratch.at(name), flags, 0o600), "openat");
    const isCloned = content.clone(fromFd, toFd);
    sys.close(toFd);
    sys.unlinkat(stagingFd, scratch.at(name), 0);
    return isCloned;
  }
}
