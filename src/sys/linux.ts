import koffi from "koffi";
import { arch } from "node:os";
import { O_TMPFILE_BIT, STATX_BASIC_STATS, architectureConstants } from "./constants.ts";
import { errno } from "./errors.ts";
import type { Address, Memory, Sys } from "./sys.ts";

type Call = (...args: number[]) => number;
type Bind = (name: string, types: string) => Call;

/** koffi's types by letter: int, unsigned, address or other word-sized number. */
const typeNames: Readonly<Record<string, string>> = {
  i: "int",
  u: "unsigned int",
  p: "uintptr_t",
  s: "intptr_t",
};

/**
 * Symbols come from the libc that Node itself is linked to (glibc or musl), found through the process's own
 * symbol table; calls that older libcs lack go through syscall(2). Addresses travel as plain numbers: 47 bits
 * of user space fit a double. openat and ioctl are variadic in C; with integer arguments both Linux ABIs pass
 * those as they pass fixed ones. `types` is the result's letter, then the arguments'.
 */
function binder(): Bind {
  const libc = koffi.load(null);
  return (name, types) => {
    const [result = "int", ...parameters] = Array.from(types, (letter) => typeNames[letter] ?? "int");
    return libc.func(name, result, parameters);
  };
}

const settle = (result: number): number => (result < 0 ? -koffi.errno() : result);

/** Buffer.alloc has its own backing store, which never moves; its zeros cost no memory before they are touched. */
function allocate(sizeBytes: number): Memory {
  const bytes = Buffer.alloc(sizeBytes);
  return { bytes, address: Number(koffi.address(bytes)) };
}

function descriptorCalls(bind: Bind) {
  const openat = bind("openat", "iipiu");
  const close = bind("close", "ii");
  const dup = bind("fcntl", "iiii");
  const fstatfs = bind("fstatfs", "iip");
  const F_DUPFD_CLOEXEC = 1030;
  const F_SETLEASE = 1024;
  return {
    openat: (dirFd: number, name: Address, flags: number, mode: number) =>
      settle(openat(dirFd, name, flags, mode)),
    close: (fd: number) => settle(close(fd)),
    dup: (fd: number) => settle(dup(fd, F_DUPFD_CLOEXEC, 0)),
    setLease: (fd: number, type: number) => settle(dup(fd, F_SETLEASE, type)),
    fstatfs: (fd: number, out: Address) => settle(fstatfs(fd, out)),
  };
}

function nameCalls(bind: Bind) {
  const readlinkat = bind("readlinkat", "sipps");
  const linkat = bind("linkat", "iipipi");
  const symlinkat = bind("symlinkat", "ipip");
  const mkdirat = bind("mkdirat", "iipu");
  const mknodat = bind("mknodat", "iipus");
  const unlinkat = bind("unlinkat", "iipi");
  const fchownat = bind("fchownat", "iipuui");
  const fchmod = bind("fchmod", "iiu");
  const fchmodat = bind("fchmodat", "iipui");
  const utimensat = bind("utimensat", "iippi");
  const futimens = bind("futimens", "iip");
  return {
    readlinkat: (dirFd: number, name: Address, out: Address, sizeBytes: number) =>
      settle(readlinkat(dirFd, name, out, sizeBytes)),
    linkat: (oldDirFd: number, oldName: Address, newDirFd: number, newName: Address, flags: number) =>
      settle(linkat(oldDirFd, oldName, newDirFd, newName, flags)),
    symlinkat: (target: Address, dirFd: number, name: Address) => settle(symlinkat(target, dirFd, name)),
    mkdirat: (dirFd: number, name: Address, mode: number) => settle(mkdirat(dirFd, name, mode)),
    mknodat: (dirFd: number, name: Address, mode: number, device: number) =>
      settle(mknodat(dirFd, name, mode, device)),
    unlinkat: (dirFd: number, name: Address, flags: number) => settle(unlinkat(dirFd, name, flags)),
    fchownat: (dirFd: number, name: Address, uid: number, gid: number, flags: number) =>
      settle(fchownat(dirFd, name, uid, gid, flags)),
    fchmod: (fd: number, mode: number) => settle(fchmod(fd, mode)),
    fchmodat: (dirFd: number, name: Address, mode: number) => settle(fchmodat(dirFd, name, mode, 0)),
    utimensat: (dirFd: number, name: Address, times: Address, flags: number) =>
      settle(utimensat(dirFd, name, times, flags)),
    futimens: (fd: number, times: Address) => settle(futimens(fd, times)),
  };
}

function numberedCalls(bind: Bind) {
  const numbers = architectureConstants(arch());
  const syscall3 = bind("syscall", "ssspp");
  const syscall5 = bind("syscall", "ssspspp");
  const syscall6 = bind("syscall", "ssspppss");
  return {
    getdents64: (fd: number, out: Address, sizeBytes: number) =>
      settle(syscall3(numbers.SYS_getdents64, fd, out, sizeBytes)),
    statx: (dirFd: number, name: Address, flags: number, out: Address) =>
      settle(syscall5(numbers.SYS_statx, dirFd, name, flags, STATX_BASIC_STATS, out)),
    renameat2: (oldDirFd: number, oldName: Address, newDirFd: number, newName: Address, flags: number) =>
      settle(syscall5(numbers.SYS_renameat2, oldDirFd, oldName, newDirFd, newName, flags)),
    copyFileRange: (fromFd: number, toFd: number, sizeBytes: number) =>
      settle(syscall6(numbers.SYS_copy_file_range, fromFd, 0, toFd, 0, sizeBytes, 0)),
    nameToHandleAt: (dirFd: number, name: Address, handle: Address, mountId: Address, flags: number) =>
      settle(syscall5(numbers.SYS_name_to_handle_at, dirFd, name, handle, mountId, flags)),
  };
}

function dataCalls(bind: Bind) {
  const read = bind("read", "sips");
  const write = bind("write", "sips");
  const pread = bind("pread", "sipss");
  const pwrite = bind("pwrite", "sipss");
  const lseek = bind("lseek", "sisi");
  const ftruncate = bind("ftruncate", "iis");
  const fadvise = bind("posix_fadvise", "iissi");
  const syncFileRange = bind("sync_file_range", "iissu");
  const ioctl = bind("ioctl", "iisp");
  const fsync = bind("fsync", "ii");
  return {
    read: (fd: number, out: Address, sizeBytes: number) => settle(read(fd, out, sizeBytes)),
    write: (fd: number, bytes: Address, sizeBytes: number) => settle(write(fd, bytes, sizeBytes)),
    pread: (fd: number, out: Address, sizeBytes: number, offset: number) =>
      settle(pread(fd, out, sizeBytes, offset)),
    pwrite: (fd: number, bytes: Address, sizeBytes: number, offset: number) =>
      settle(pwrite(fd, bytes, sizeBytes, offset)),
    lseek: (fd: number, offset: number, whence: number) => settle(lseek(fd, offset, whence)),
    ftruncate: (fd: number, sizeBytes: number) => settle(ftruncate(fd, sizeBytes)),
    /** posix_fadvise(3) returns the errno itself. */
    fadvise: (fd: number, offset: number, sizeBytes: number, advice: number) =>
      -fadvise(fd, offset, sizeBytes, advice),
    syncFileRange: (fd: number, offset: number, sizeBytes: number, flags: number) =>
      settle(syncFileRange(fd, offset, sizeBytes, flags)),
    ioctl: (fd: number, request: number, argument: number) => settle(ioctl(fd, request, argument)),
    fsync: (fd: number) => settle(fsync(fd)),
  };
}

function xattrCalls(bind: Bind) {
  const flistxattr = bind("flistxattr", "sips");
  const fgetxattr = bind("fgetxattr", "sipps");
  const fsetxattr = bind("fsetxattr", "iippsi");
  const fremovexattr = bind("fremovexattr", "iip");
  const llistxattr = bind("llistxattr", "spps");
  const lgetxattr = bind("lgetxattr", "sppps");
  const lsetxattr = bind("lsetxattr", "ipppsi");
  const lremovexattr = bind("lremovexattr", "ipp");
  return {
    flistxattr: (fd: number, out: Address, sizeBytes: number) => settle(flistxattr(fd, out, sizeBytes)),
    fgetxattr: (fd: number, name: Address, out: Address, sizeBytes: number) =>
      settle(fgetxattr(fd, name, out, sizeBytes)),
    fsetxattr: (fd: number, name: Address, value: Address, sizeBytes: number, flags: number) =>
      settle(fsetxattr(fd, name, value, sizeBytes, flags)),
    fremovexattr: (fd: number, name: Address) => settle(fremovexattr(fd, name)),
    llistxattr: (path: Address, out: Address, sizeBytes: number) => settle(llistxattr(path, out, sizeBytes)),
    lgetxattr: (path: Address, name: Address, out: Address, sizeBytes: number) =>
      settle(lgetxattr(path, name, out, sizeBytes)),
    lsetxattr: (path: Address, name: Address, value: Address, sizeBytes: number, flags: number) =>
      settle(lsetxattr(path, name, value, sizeBytes, flags)),
    lremovexattr: (path: Address, name: Address) => settle(lremovexattr(path, name)),
  };
}

function processCalls(bind: Bind) {
  const syncfs = bind("syncfs", "ii");
  const flock = bind("flock", "iii");
  const getrlimit = bind("getrlimit", "iip");
  const setrlimit = bind("setrlimit", "iip");
  const umask = bind("umask", "uu");
  const syscall3 = bind("syscall", "sssss");
  const setpriority = bind("setpriority", "iiui");
  const numbers = architectureConstants(arch());
  const getpid = bind("getpid", "i");
  const kill = bind("kill", "iii");
  const geteuid = bind("geteuid", "u");
  const getegid = bind("getegid", "u");
  const getgroups = bind("getgroups", "iip");
  const inBackground = (
    syncfs as unknown as { async: (fd: number, done: (error: unknown, result: number) => void) => void }
  ).async;
  return {
    syncfs: (fd: number) => settle(syncfs(fd)),
    /** koffi keeps errno for the calling thread only, hence the plain EIO. */
    syncfsAsync: (fd: number) =>
      new Promise<number>((resolve) => {
        inBackground(fd, (error, result) => {
          resolve(error === null && result === 0 ? 0 : -errno.EIO);
        });
      }),
    flock: (fd: number, operation: number) => settle(flock(fd, operation)),
    getrlimit: (resource: number, limits: Address) => settle(getrlimit(resource, limits)),
    setrlimit: (resource: number, limits: Address) => settle(setrlimit(resource, limits)),
    umask: (mask: number) => umask(mask),
    // IOPRIO_WHO_PROCESS 1, PRIO_PROCESS 0: with 0 for the id, each means the calling thread.
    ioprioSet: (priority: number) => settle(syscall3(numbers.SYS_ioprio_set, 1, 0, priority)),
    setNice: (nice: number) => settle(setpriority(0, 0, nice)),
    getpid: () => getpid(),
    kill: (pid: number, signal: number) => settle(kill(pid, signal)),
    geteuid: () => geteuid(),
    getegid: () => getegid(),
    getgroups: (count: number, out: Address) => settle(getgroups(count, out)),
  };
}

/** Opens the kernel of this process. Each thread opens its own: bindings are not shared between threads. */
export function openSys(): Sys {
  const bind = binder();
  const numbers = architectureConstants(arch());
  return {
    O_DIRECTORY: numbers.O_DIRECTORY,
    O_NOFOLLOW: numbers.O_NOFOLLOW,
    O_TMPFILE: O_TMPFILE_BIT | numbers.O_DIRECTORY,
    allocate,
    addressOf: (bytes: Uint8Array): Address => Number(koffi.address(bytes)),
    ...descriptorCalls(bind),
    ...nameCalls(bind),
    ...numberedCalls(bind),
    ...dataCalls(bind),
    ...xattrCalls(bind),
    ...processCalls(bind),
  };
}
