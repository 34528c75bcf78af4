/**
 * Numbers of the Linux ABI (include/uapi of the kernel). All but the ones in `perArchitecture` are the same on
 * x64 and arm64.
 */
type Architecture = {
  O_DIRECTORY: number;
  O_NOFOLLOW: number;
  SYS_getdents64: number;
  SYS_statx: number;
  SYS_renameat2: number;
  SYS_copy_file_range: number;
  SYS_name_to_handle_at: number;
  SYS_ioprio_set: number;
};

/** Flags: arch/{x86,arm64}/include/uapi/asm/fcntl.h. Numbers: syscall_64.tbl and asm-generic/unistd.h. */
const perArchitecture: Record<"x64" | "arm64", Architecture> = {
  x64: {
    O_DIRECTORY: 0o200000,
    O_NOFOLLOW: 0o400000,
    SYS_getdents64: 217,
    SYS_statx: 332,
    SYS_renameat2: 316,
    SYS_copy_file_range: 326,
    SYS_name_to_handle_at: 303,
    SYS_ioprio_set: 251,
  },
  arm64: {
    O_DIRECTORY: 0o40000,
    O_NOFOLLOW: 0o100000,
    SYS_getdents64: 61,
    SYS_statx: 291,
    SYS_renameat2: 276,
    SYS_copy_file_range: 285,
    SYS_name_to_handle_at: 264,
    SYS_ioprio_set: 30,
  },
};

/** The constants of this machine; arm64's where it is neither (the program has refused to run by then). */
export function architectureConstants(architecture: string): Architecture {
  return architecture === "x64" ? perArchitecture.x64 : perArchitecture.arm64;
}

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_NOATIME = 0o1000000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const O_TMPFILE_BIT = 0o20000000;

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;

export const SEEK_SET = 0;
export const SEEK_END = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;

export const F_RDLCK = 0;
export const F_UNLCK = 2;

export const POSIX_FADV_DONTNEED = 4;

export const STATX_ATTR_IMMUTABLE = 0x10;
export const STATX_ATTR_APPEND = 0x20;
export const STATX_ATTR_MOUNT_ROOT = 0x2000;
export const STATX_BASIC_STATS = 0x7ff;

export const S_IFMT = 0o170000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFIFO = 0o010000;
export const S_IFSOCK = 0o140000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;

export const DT_UNKNOWN = 0;
export const DT_DIR = 4;
export const DT_REG = 8;

/** include/uapi/linux/fs.h */
export const FICLONE = 0x40049409;
export const FS_IOC_GETFSUUID = 0x80111500;
/** struct xfs_fsop_geom_v1: 112 bytes, the UUID at offset 64 (fs/xfs/libxfs/xfs_fs.h). */
export const XFS_IOC_FSGEOMETRY_V1 = 0x80705864;

/** include/uapi/linux/magic.h */
export const EXT_SUPER_MAGIC = 0xef53;
export const XFS_SUPER_MAGIC = 0x58465342;
export const BTRFS_SUPER_MAGIC = 0x9123683e;
export const TMPFS_MAGIC = 0x01021994;

export const SYNC_FILE_RANGE_WAIT_BEFORE = 1;
export const SYNC_FILE_RANGE_WRITE = 2;
export const SYNC_FILE_RANGE_WAIT_AFTER = 4;
