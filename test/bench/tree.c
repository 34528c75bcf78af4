/* Makes, warms and counts the trees of the bench.
   tree make ROOT SNAPSHOTS FOLDERS FILES MIN_BYTES MAX_BYTES   every snapshot names all FOLDERS * FILES inodes
   tree few ROOT FILES    small files of five sizes, 1000 in a folder, each content twice
   tree warm ROOT     stats every name and reads every inode once
   tree count ROOT    prints how many names it has and how many inodes that are no directories */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static char buffer[1 << 20];
static uint64_t state = 88172645463325252u;

static uint64_t next_random(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

/* Everything is as old as 2024, one day apart: no tool may take it for changing just now. */
static void set_time(int fd, int day) {
  struct timespec when = {1704067200 - 86400L * day, 123456789};
  if (futimens(fd, (struct timespec[]){when, when})) err(1, "futimens");
}

static void make_file(int folder, const char *name, size_t size) {
  int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (fd < 0) err(1, "%s", name);
  while (size > 0) {
    size_t n = size < sizeof buffer ? size : sizeof buffer;
    for (size_t i = 0; i < n; i += 8) *(uint64_t *)(buffer + i) = next_random();
    if (write(fd, buffer, n) != (ssize_t)n) err(1, "write %s", name);
    size -= n;
  }
  set_time(fd, 400);
  close(fd);
}

static int make_folder(int parent, const char *name) {
  if (mkdirat(parent, name, 0755)) err(1, "mkdir %s", name);
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY);
  if (fd < 0) err(1, "%s", name);
  return fd;
}

static int open_folder(const char *root, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/daily.0/%s", root, name);
  int fd = open(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) err(1, "%s", path);
  return fd;
}

static void make(const char *root, char **arg) {
  int snapshots = atoi(arg[0]), folders = atoi(arg[1]), files = atoi(arg[2]);
  size_t min = strtoull(arg[3], NULL, 10), max = strtoull(arg[4], NULL, 10);
  int top = make_folder(AT_FDCWD, root);
  char name[64];
  for (int s = 0; s < snapshots; s++) {
    snprintf(name, sizeof name, "daily.%d", s);
    int snapshot = make_folder(top, name);
    for (int d = 0; d < folders; d++) {
      snprintf(name, sizeof name, "folder-%05d", d);
      int folder = make_folder(snapshot, name);
      int original = open_folder(root, name);
      for (int f = 0; f < files; f++) {
        snprintf(name, sizeof name, "file-%05d.txt", f);
        if (s == 0) make_file(folder, name, min + next_random() % (max - min + 1));
        else if (linkat(original, name, folder, name, 0)) err(1, "link %s", name);
      }
      close(original);
      set_time(folder, s);
      close(folder);
    }
    set_time(snapshot, s);
    close(snapshot);
  }
}

static void make_few(const char *root, int files) {
  int top = open(root, O_RDONLY | O_DIRECTORY), folder = -1;
  if (top < 0) err(1, "%s", root);
  char name[64];
  for (int i = 0; i < files; i++) {
    if (i % 1000 == 0) {
      if (folder >= 0) close(folder);
      snprintf(name, sizeof name, "folder-%05d", i / 1000);
      folder = make_folder(top, name);
    }
    uint64_t content = i % (files / 2);
    state = 88172645463325252u + content * 2654435761u;
    snprintf(name, sizeof name, "file-%05d.txt", i % 1000);
    make_file(folder, name, 200 + 104 * (content % 5));
  }
  close(folder);
}

static unsigned char *seen;
static uint64_t names, inodes;
static int reading;

static void visit_inode(int folder, const char *name, const struct stat *st) {
  if (seen[st->st_ino >> 3] & 1 << (st->st_ino & 7)) return;
  seen[st->st_ino >> 3] |= 1 << (st->st_ino & 7);
  inodes++;
  if (!reading || !S_ISREG(st->st_mode)) return;
  int fd = openat(folder, name, O_RDONLY);
  if (fd < 0) err(1, "%s", name);
  while (read(fd, buffer, sizeof buffer) > 0) {}
  close(fd);
}

static void visit(int folder, int depth) {
  DIR *listing = fdopendir(folder);
  if (!listing) err(1, "fdopendir");
  for (struct dirent *entry; (entry = readdir(listing));) {
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, "..") || (depth == 0 && !strcmp(name, ".dedupe"))) continue;
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW)) err(1, "%s", name);
    names++;
    if (!S_ISDIR(st.st_mode)) {
      visit_inode(folder, name, &st);
      continue;
    }
    int child = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (child < 0) err(1, "%s", name);
    visit(child, depth + 1);
  }
  closedir(listing);
}

int main(int argc, char **argv) {
  if (argc == 8 && !strcmp(argv[1], "make")) {
    make(argv[2], argv + 3);
    return 0;
  }
  if (argc == 4 && !strcmp(argv[1], "few")) {
    make_few(argv[2], atoi(argv[3]));
    return 0;
  }
  if (argc != 3) errx(2, "see the head of tree.c");
  struct statvfs fs;
  if (statvfs(argv[2], &fs)) err(1, "%s", argv[2]);
  seen = calloc(fs.f_files / 8 + 2, 1); /* ext4 numbers its inodes 1 to f_files */
  reading = !strcmp(argv[1], "warm");
  int root = open(argv[2], O_RDONLY | O_DIRECTORY);
  if (root < 0 || !seen) err(1, "%s", argv[2]);
  visit(root, 0);
  printf("%lu %lu\n", names, inodes);
  return 0;
}
