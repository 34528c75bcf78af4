/**
 * The door to the kernel. One method is one system call: it decodes the result and decides nothing. Results
 * follow the kernel's own convention, a value >= 0 or -errno, because on the hot path an expected ENOENT must
 * not cost an exception; `check` (errors.ts) turns the unexpected ones into SysError.
 *
 * Handed down as a value so that tests can make call N fail, kill at call N, or trace the order of calls.
 */

/** Where NUL-terminated bytes or a struct begin; the owner (`Memory`) must stay referenced during the call. */
export type Address = number;

/** A block that does not move, with its address. Keep the object referenced as long as the address is in use. */
export type Memory = { readonly bytes: Buffer; readonly address: Address };

export type Sys = {
  /** Whether the flags of open(2) include these on this architecture. */
  readonly O_DIRECTORY: number;
  readonly O_NOFOLLOW: number;
  readonly O_TMPFILE: number;
  allocate(sizeBytes: number): Memory;
  /** The address of a buffer that was not made by `allocate`, such as a SharedArrayBuffer's view. */
  addressOf(bytes: Uint8Array): Address;

  openat(dirFd: number, name: Address, flags: number, mode: number): number;
  close(fd: number): number;
  dup(fd: number): number;
  /** fcntl(2) with F_SETLEASE: F_RDLCK answers -EAGAIN where the file is open for writing. */
  setLease(fd: number, type: number): number;
  /** getdents64(2) into `out`; the number of bytes, 0 at the end. */
  getdents64(fd: number, out: Address, sizeBytes: number): number;
  /** statx(2) with STATX_BASIC_STATS into 256 bytes at `out` (see stat.ts). */
  statx(dirFd: number, name: Address, flags: number, out: Address): number;
  fstatfs(fd: number, out: Address): number;
  readlinkat(dirFd: number, name: Address, out: Address, sizeBytes: number): number;

  linkat(oldDirFd: number, oldName: Address, newDirFd: number, newName: Address, flags: number): number;
  symlinkat(target: Address, dirFd: number, name: Address): number;
  mkdirat(dirFd: number, name: Address, mode: number): number;
  mknodat(dirFd: number, name: Address, mode: number, device: number): number;
  unlinkat(dirFd: number, name: Address, flags: number): number;
  renameat2(oldDirFd: number, oldName: Address, newDirFd: number, newName: Address, flags: number): number;

  fchownat(dirFd: number, name: Address, uid: number, gid: number, flags: number): number;
  fchmod(fd: number, mode: number): number;
  fchmodat(dirFd: number, name: Address, mode: number): number;
  /** futimens(3); `times` are two struct timespec (32 bytes). */
  futimens(fd: number, times: Address): number;
  /** utimensat(2); `times` as for futimens. */
  utimensat(dirFd: number, name: Address, times: Address, flags: number): number;

  read(fd: number, out: Address, sizeBytes: number): number;
  write(fd: number, bytes: Address, sizeBytes: number): number;
  pread(fd: number, out: Address, sizeBytes: number, offset: number): number;
  pwrite(fd: number, bytes: Address, sizeBytes: number, offset: number): number;
  lseek(fd: number, offset: number, whence: number): number;
  ftruncate(fd: number, sizeBytes: number): number;
  fadvise(fd: number, offset: number, sizeBytes: number, advice: number): number;
  syncFileRange(fd: number, offset: number, sizeBytes: number, flags: number): number;
  copyFileRange(fromFd: number, toFd: number, sizeBytes: number): number;
  ioctl(fd: number, request: number, argument: number): number;

  flistxattr(fd: number, out: Address, sizeBytes: number): number;
  fgetxattr(fd: number, name: Address, out: Address, sizeBytes: number): number;
  fsetxattr(fd: number, name: Address, value: Address, sizeBytes: number, flags: number): number;
  fremovexattr(fd: number, name: Address): number;
  llistxattr(path: Address, out: Address, sizeBytes: number): number;
  lgetxattr(path: Address, name: Address, out: Address, sizeBytes: number): number;
  lsetxattr(path: Address, name: Address, value: Address, sizeBytes: number, flags: number): number;
  lremovexattr(path: Address, name: Address): number;

  /** name_to_handle_at(2): struct file_handle at `handle`, an int at `mountId`. */
  nameToHandleAt(dirFd: number, name: Address, handle: Address, mountId: Address, flags: number): number;
  fsync(fd: number): number;
  syncfs(fd: number): number;
  /** syncfs(2) on a helper thread, so that the caller's event loop goes on; 0 or -EIO. */
  syncfsAsync(fd: number): Promise<number>;
  flock(fd: number, operation: number): number;
  /** Two 64-bit words at `limits`: soft and hard. */
  getrlimit(resource: number, limits: Address): number;
  setrlimit(resource: number, limits: Address): number;
  umask(mask: number): number;
  /** ioprio_set(2) of the calling thread; threads that it starts later inherit it. `priority`: class << 13 | level. */
  ioprioSet(priority: number): number;
  /** setpriority(2) of the calling thread, inherited likewise: -20 to 19. */
  setNice(nice: number): number;
  getpid(): number;
  /** kill(2); signal 0 only asks whether the process is there. */
  kill(pid: number, signal: number): number;
  geteuid(): number;
  getegid(): number;
  getgroups(count: number, out: Address): number;
};

export type SysFactory = () => Sys;
