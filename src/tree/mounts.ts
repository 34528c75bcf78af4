import { AT_FDCWD } from "../sys/constants.ts";
import { readFile, type Kernel } from "../sys/files.ts";

/** A line of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export type Mount = {
  id: number;
  device: number;
  /** Which directory of the filesystem is mounted: "/", or another for a bind mount or a btrfs subvolume. */
  root: string;
  point: string;
  type: string;
  source: string;
  options: string[];
};

/** All mounts that this process sees; none where /proc is not mounted. The last mount on a point comes first. */
export function readMounts(kernel: Kernel): Mount[] {
  const content = readFile(kernel, AT_FDCWD, "/proc/self/mountinfo");
  if (content === undefined) return [];
  return content
    .toString("latin1")
    .split("\n")
    .flatMap((line) => parseLine(line))
    .reverse();
}

function parseLine(line: string): Mount[] {
  const [left, right] = line.split(" - ");
  if (left === undefined || right === undefined) return [];
  const [id = "", , device = "0:0", root = "", point = "", mountOptions = ""] = left.split(" ");
  const [type = "", source = "", superOptions = ""] = right.split(" ");
  const [major = 0, minor = 0] = device.split(":").map(Number);
  const options = [...mountOptions.split(","), ...superOptions.split(",")];
  return [
    {
      id: Number(id),
      device: ((major << 20) | minor) >>> 0,
      root: unescape(root),
      point: unescape(point),
      type,
      source: unescape(source),
      options,
    },
  ];
}

/** Space, tab, newline and backslash are written as octal escapes. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
