import { execFileSync } from "node:child_process";
import {
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireLoop, requireTool, requirement } from "./skip.ts";

export type FilesystemType = "ext4" | "ext3" | "ext3-128" | "xfs" | "btrfs" | "tmpfs" | "vfat" | "exfat";

type ImageType = Exclude<FilesystemType, "tmpfs">;

export interface FilesystemSpec {
  readonly type: FilesystemType;
  /** Apparent size of the sparse image; mkfs.xfs wants 300 MiB at least, mkfs.btrfs 110 MiB. */
  readonly sizeBytes: number;
  /** Further arguments of mkfs, such as ["-N", "2000"]. */
  readonly options?: readonly string[];
  /** As after mount's -o, such as "data=writeback,ro". */
  readonly mountOptions?: string;
  /** Keep the image on a filesystem of this type that can clone files: needed for snapshotImage(). */
  readonly imageOn?: "xfs" | "btrfs";
}

/** A filesystem of its own on a sparse image in memory, mounted until close(). */
export interface Filesystem {
  readonly mountPoint: string;
  /** Where the image lies; undefined for tmpfs. */
  readonly image: string | undefined;
  /** `mount -o remount,OPTIONS`: the inodes stay in memory. */
  remount(options: string): void;
  /** Unmounts and mounts again: nothing of it stays in memory. Options default to the first ones. */
  cycle(mountOptions?: string): void;
  /** The disk as a power cut at this instant would leave it. Needs `imageOn`. */
  snapshotImage(): ImageSnapshot;
  /** Unmounts and deletes the image; a second call does nothing. */
  close(): void;
}

/** A copy of an image, taken while the original was mounted. */
export interface ImageSnapshot {
  readonly image: string;
  /** Mounts the copy (journal recovery happens here); close() of the result unmounts and deletes it. */
  mount(mountOptions?: string): MountedSnapshot;
  /** For a copy that is not wanted after all. */
  delete(): void;
}

export interface MountedSnapshot {
  readonly mountPoint: string;
  close(): void;
}

interface Recipe {
  readonly mkfs: readonly string[];
  readonly mountType: string;
  readonly mountOptions: string;
}

/* noinit_itable: the kernel's lazy initialisation of inode tables would write beside a test for minutes.
   errors=continue is the default of mke2fs; said so that no distribution's mke2fs.conf decides. */
const ext = (tool: string, ...more: string[]): Recipe => ({
  mkfs: [tool, "-q", "-F", ...more],
  mountType: tool.slice("mkfs.".length),
  mountOptions: "noinit_itable,errors=continue",
});

const recipes: Record<ImageType, Recipe> = {
  ext4: ext("mkfs.ext4"),
  ext3: ext("mkfs.ext3"),
  "ext3-128": ext("mkfs.ext3", "-I", "128"),
  xfs: { mkfs: ["mkfs.xfs", "-q", "-f"], mountType: "xfs", mountOptions: "" },
  btrfs: { mkfs: ["mkfs.btrfs", "-q", "-f"], mountType: "btrfs", mountOptions: "" },
  vfat: { mkfs: ["mkfs.vfat"], mountType: "vfat", mountOptions: "" },
  exfat: { mkfs: ["mkfs.exfat"], mountType: "exfat", mountOptions: "" },
};

/** Whether this machine can make and mount the type; prints why not. */
export function requireFilesystem(type: FilesystemType): boolean {
  if (!requireLoop()) return false;
  if (type === "tmpfs") return true;
  const { mkfs, mountType } = recipes[type];
  if (!requireTool(mkfs[0]!)) return false;
  const driver = kernelKnows(mountType) || (type === "exfat" && requireTool("mount.exfat-fuse"));
  return requirement(driver, `this kernel has no ${mountType}`);
}

/** Runs the task with a fresh filesystem, which is gone afterwards, whatever happened. */
export async function withFilesystem<T>(
  spec: FilesystemSpec,
  task: (mountPoint: string, filesystem: Filesystem) => T | Promise<T>,
): Promise<T> {
  const filesystem = makeFilesystem(spec);
  try {
    return await task(filesystem.mountPoint, filesystem);
  } finally {
    filesystem.close();
  }
}

export function makeFilesystem(spec: FilesystemSpec): Filesystem {
  const base = mkdtempSync(join(imageFolder(spec.sizeBytes), "dedupe-fs-"));
  unmountOnExit(base);
  try {
    return spec.type === "tmpfs" ? makeTmpfs(base, spec) : makeOnImage(base, spec.type, spec);
  } catch (error) {
    closeBase(base, []);
    throw error;
  }
}

function makeTmpfs(base: string, spec: FilesystemSpec): Filesystem {
  const mountPoint = join(base, "mnt");
  const size = `size=${spec.sizeBytes}`;
  mountAt(mountPoint, ["-t", "tmpfs", "-o", joinOptions(size, spec.mountOptions), "dedupe-test"]);
  return {
    mountPoint,
    image: undefined,
    remount: (options) => run("mount", "-o", `remount,${options}`, mountPoint),
    cycle: () => {
      throw new Error("a tmpfs does not outlive its mount");
    },
    snapshotImage: () => {
      throw new Error("a tmpfs has no image");
    },
    close: () => closeBase(base, [mountPoint]),
  };
}

function makeOnImage(base: string, type: ImageType, spec: FilesystemSpec): Filesystem {
  const { sizeBytes, imageOn } = spec;
  const host = imageOn === undefined ? undefined : makeHost(base, imageOn, sizeBytes);
  const image = join(host ?? base, "image");
  const mountPoint = join(base, "mnt");
  makeImage(image, type, spec);
  mountImage(image, mountPoint, type, spec.mountOptions);
  let copies = 0;
  return {
    mountPoint,
    image,
    remount: (options) => run("mount", "-o", `remount,${options}`, mountPoint),
    cycle: (mountOptions = spec.mountOptions) => {
      unmount(mountPoint);
      mountImage(image, mountPoint, type, mountOptions);
    },
    snapshotImage: () => {
      if (host === undefined) throw new Error('snapshotImage() needs makeFilesystem({ imageOn: "xfs" })');
      copies += 1;
      return snapshotOf(image, type, { path: `${image}.${copies}`, mountPoint: join(base, `cut.${copies}`) });
    },
    close: () => closeBase(base, [mountPoint, ...(host === undefined ? [] : [host])]),
  };
}

/** The filesystem that an image lies on when the image is to be cloned. */
function makeHost(base: string, type: "xfs" | "btrfs", sizeBytes: number): string {
  const host = join(base, "host");
  const image = join(base, "host-image");
  const options = type === "xfs" ? ["-m", "reflink=1"] : [];
  makeImage(image, type, { sizeBytes: sizeBytes * 8 + 2 ** 31, options });
  // discard: what a deleted copy held goes back to the memory that holds the host's own image.
  mountImage(image, host, type, "discard");
  return host;
}

function snapshotOf(
  image: string,
  type: ImageType,
  copy: { path: string; mountPoint: string },
): ImageSnapshot {
  // One FICLONE: what reached the loop device before is in the copy, what came later is not.
  copyFileSync(image, copy.path, constants.COPYFILE_FICLONE_FORCE);
  return {
    image: copy.path,
    mount: (mountOptions) => {
      const uuid = type === "xfs" ? "nouuid" : undefined;
      mountImage(copy.path, copy.mountPoint, type, joinOptions(uuid, mountOptions));
      return {
        mountPoint: copy.mountPoint,
        close: () => {
          unmount(copy.mountPoint);
          rmSync(copy.mountPoint, { recursive: true, force: true });
          rmSync(copy.path, { force: true });
        },
      };
    },
    delete: () => rmSync(copy.path, { force: true }),
  };
}

function makeImage(
  image: string,
  type: ImageType,
  { sizeBytes, options = [] }: { sizeBytes: number; options?: readonly string[] },
): void {
  writeFileSync(image, "");
  truncateSync(image, sizeBytes);
  const [tool, ...fixed] = recipes[type].mkfs;
  run(tool!, ...fixed, ...options, image);
}

function mountImage(image: string, mountPoint: string, type: ImageType, mountOptions?: string): void {
  if (type === "exfat" && !kernelKnows("exfat")) {
    mountThroughFuse(image, mountPoint, mountOptions);
    return;
  }
  const recipe = recipes[type];
  const options = joinOptions("loop", recipe.mountOptions, mountOptions);
  mountAt(mountPoint, ["-t", recipe.mountType, "-o", options, image]);
}

/** exfat-fuse wants a block device; --detach makes the loop device vanish with its last user. */
function mountThroughFuse(image: string, mountPoint: string, mountOptions?: string): void {
  const device = run("losetup", "--find", "--show", image).trim();
  try {
    mkdirSync(mountPoint, { recursive: true });
    run("mount.exfat-fuse", "-o", joinOptions("rw", mountOptions), device, mountPoint);
  } finally {
    run("losetup", "--detach", device);
  }
}

function mountAt(mountPoint: string, args: readonly string[]): void {
  mkdirSync(mountPoint, { recursive: true });
  for (let attempt = 1; ; attempt += 1) {
    try {
      run("mount", ...args, mountPoint);
      return;
    } catch (error) {
      // Two mounts at once may pick the same free loop device; the loser has to ask again.
      if (attempt === 5 || !/loop device|already mounted|busy/i.test(String(error))) throw error;
      sleepMs(50 * attempt);
    }
  }
}

function closeBase(base: string, mountPoints: readonly string[]): void {
  // First what a test mounted inside it and what a snapshot left mounted.
  const others = mountPointsBelow(base).filter((each) => !mountPoints.includes(each));
  for (const mountPoint of [...others.reverse(), ...mountPoints]) unmount(mountPoint);
  rmSync(base, { recursive: true, force: true });
  open.delete(base);
}

function unmount(mountPoint: string): void {
  for (let attempt = 1; isMounted(mountPoint); attempt += 1) {
    try {
      run("umount", mountPoint);
    } catch (error) {
      if (attempt < 40) {
        sleepMs(50);
        continue;
      }
      run("umount", "--lazy", mountPoint);
      throw new Error(`${mountPoint} stayed busy for two seconds; is a process or descriptor left?`, {
        cause: error,
      });
    }
  }
}

/* The folders of filesystems not yet closed: the one piece of module state, because only a process as a
   whole can end. A run that is killed with SIGKILL leaves its mounts: see /dev/shm/dedupe-fs-*. */
const open = new Set<string>();
let armed = false;

function unmountOnExit(base: string): void {
  open.add(base);
  if (armed) return;
  armed = true;
  process.on("exit", () => {
    for (const each of open) abandon(each);
  });
}

function abandon(base: string): void {
  try {
    for (const mountPoint of mountPointsBelow(base).reverse()) run("umount", "--lazy", mountPoint);
    rmSync(base, { recursive: true, force: true });
  } catch {
    // The process is ending; there is nobody left to tell.
  }
}

/** /dev/shm, so that no disk's speed or wear is part of a test; /tmp where it is missing or too small. */
function imageFolder(sizeBytes: number): string {
  try {
    const { bavail, bsize } = statfsSync("/dev/shm");
    // The image is sparse: a test that fills it by more than half says so by taking a larger one.
    if (bavail * bsize >= sizeBytes / 2) return "/dev/shm";
  } catch {
    // no /dev/shm here
  }
  return tmpdir();
}

function kernelKnows(type: string): boolean {
  const known = () => /\s(\S+)$/gm[Symbol.matchAll](readFileSync("/proc/filesystems", "utf8"));
  if ([...known()].some((match) => match[1] === type)) return true;
  try {
    run("modprobe", type);
  } catch {
    return false;
  }
  return [...known()].some((match) => match[1] === type);
}

function isMounted(mountPoint: string): boolean {
  return mountTable().includes(mountPoint);
}

function mountPointsBelow(base: string): string[] {
  return mountTable().filter((each) => each.startsWith(`${base}/`));
}

function mountTable(): string[] {
  const lines = readFileSync("/proc/self/mounts", "utf8").split("\n");
  return lines.map((line) => (line.split(" ")[1] ?? "").replaceAll("\\040", " "));
}

function joinOptions(...options: (string | undefined)[]): string {
  return options.filter((option) => option !== undefined && option !== "").join(",");
}

function sleepMs(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function run(command: string, ...args: string[]): string {
  const path = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
  const env = { ...process.env, PATH: path, LC_ALL: "C" };
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], env });
}
