/* What the kernel itself takes for the names of a tree made by tree.c: mkdirat, linkat, and for the first
   snapshot open, read, create, write. No walk, no hash, no staging, no metadata.
   floor SOURCE TARGET SNAPSHOTS FOLDERS FILES THREADS
   A thread takes one folder of one snapshot at a time; the first snapshot is whole before the others begin. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int source, target, snapshots, folders, files, threads;
static atomic_int taken;
static int limit;

static int open_folder(int at, const char *path) {
  int fd = openat(at, path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) err(1, "%s", path);
  return fd;
}

static void copy(int from, int to, const char *name) {
  char buffer[1 << 16];
  int in = openat(from, name, O_RDONLY), out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (in < 0 || out < 0) err(1, "%s", name);
  for (ssize_t n; (n = read(in, buffer, sizeof buffer)) > 0;)
    if (write(out, buffer, n) != n) err(1, "write %s", name);
  close(in);
  close(out);
}

static void make_folder(int snapshot, int index) {
  char name[64];
  snprintf(name, sizeof name, "daily.%d/folder-%05d", snapshot, index);
  if (mkdirat(target, name, 0755)) err(1, "mkdir %s", name);
  int folder = open_folder(target, name);
  snprintf(name, sizeof name, "daily.0/folder-%05d", index);
  int original = open_folder(snapshot == 0 ? source : target, name);
  for (int f = 0; f < files; f++) {
    snprintf(name, sizeof name, "file-%05d.txt", f);
    if (snapshot == 0) copy(original, folder, name);
    else if (linkat(original, name, folder, name, 0)) err(1, "link %s", name);
  }
  close(original);
  close(folder);
}

static void *work(void *unused) {
  for (int task; (task = atomic_fetch_add(&taken, 1)) < limit;) make_folder(task / folders, task % folders);
  return unused;
}

static void run(int until) {
  pthread_t thread[64];
  limit = until;
  for (int t = 0; t < threads; t++)
    if (pthread_create(&thread[t], NULL, work, NULL)) errx(1, "pthread_create");
  for (int t = 0; t < threads; t++) pthread_join(thread[t], NULL);
  atomic_store(&taken, until);
}

int main(int argc, char **argv) {
  if (argc != 7) errx(2, "see the head of floor.c");
  source = open_folder(AT_FDCWD, argv[1]);
  target = open_folder(AT_FDCWD, argv[2]);
  snapshots = atoi(argv[3]), folders = atoi(argv[4]), files = atoi(argv[5]), threads = atoi(argv[6]);
  if (threads < 1 || threads > 64) errx(2, "1 to 64 threads");
  for (int s = 0; s < snapshots; s++) {
    char name[64];
    snprintf(name, sizeof name, "daily.%d", s);
    if (mkdirat(target, name, 0755)) err(1, "mkdir %s", name);
  }
  run(folders);
  run(folders * snapshots);
  return 0;
}
