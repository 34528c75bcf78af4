/* About what the kernel itself takes to copy a tree of hard links: getdents64, mkdirat, openat, read, create, write,
   readlinkat, symlinkat, linkat. No hash, no staging, no store, no metadata. Not the least possible: each link
   resolves the path of the first name anew.
   floor-walk SOURCE TARGET THREADS
   For one filesystem whose d_ino and d_type are true, with regular files, symlinks and directories only. */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_INODE = 1 << 24 };

static char being_made;
/* By inode number: where in TARGET its first name is. */
static _Atomic(char *) first_name[MAX_INODE];
static int source, target;

/* Directories that nobody has taken yet, the last found first. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char **pending;
static int count, room, working;

static char *join(const char *folder, const char *name) {
  char *path;
  if (asprintf(&path, "%s/%s", folder, name) < 0) err(1, "asprintf");
  return path;
}

static void offer(char *folder) {
  pthread_mutex_lock(&lock);
  if (count == room && !(pending = realloc(pending, (room = 2 * room + 64) * sizeof *pending))) err(1, "realloc");
  pending[count++] = folder;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

/* NULL once nothing is pending and nobody works who could offer more. */
static char *take(int finished) {
  pthread_mutex_lock(&lock);
  working -= finished;
  while (count == 0 && working > 0) pthread_cond_wait(&changed, &lock);
  char *folder = count > 0 ? pending[--count] : NULL;
  if (folder) working++;
  else pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  return folder;
}

static void copy_file(int from, int to, const char *name) {
  static _Thread_local char buffer[1 << 18];
  int in = openat(from, name, O_RDONLY), out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (in < 0 || out < 0) err(1, "%s", name);
  for (ssize_t n = sizeof buffer; n == sizeof buffer;) {
    if ((n = read(in, buffer, sizeof buffer)) < 0) err(1, "read %s", name);
    if (write(out, buffer, n) != n) err(1, "write %s", name);
  }
  close(in);
  close(out);
}

static void copy_symlink(int from, int to, const char *name) {
  char text[4097];
  ssize_t n = readlinkat(from, name, text, sizeof text - 1);
  if (n < 0) err(1, "readlink %s", name);
  text[n] = 0;
  if (symlinkat(text, to, name)) err(1, "symlink %s", name);
}

static void place(int from, int to, const char *folder, const struct dirent *entry) {
  if (entry->d_ino >= MAX_INODE) errx(1, "an inode number beyond %d", MAX_INODE);
  char *first = NULL;
  if (atomic_compare_exchange_strong(&first_name[entry->d_ino], &first, &being_made)) {
    if (entry->d_type == DT_LNK) copy_symlink(from, to, entry->d_name);
    else copy_file(from, to, entry->d_name);
    atomic_store(&first_name[entry->d_ino], join(folder, entry->d_name));
    return;
  }
  while (first == &being_made) {
    sched_yield();
    first = atomic_load(&first_name[entry->d_ino]);
  }
  if (linkat(target, first, to, entry->d_name, 0)) err(1, "link %s/%s", folder, entry->d_name);
}

static void copy_folder(const char *folder) {
  int from = openat(source, folder, O_RDONLY | O_DIRECTORY), to = openat(target, folder, O_RDONLY | O_DIRECTORY);
  DIR *listing = from < 0 || to < 0 ? NULL : fdopendir(from);
  if (!listing) err(1, "%s", folder);
  for (struct dirent *entry; (entry = readdir(listing));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    if (entry->d_type != DT_DIR) {
      place(from, to, folder, entry);
      continue;
    }
    if (mkdirat(to, entry->d_name, 0755)) err(1, "mkdir %s/%s", folder, entry->d_name);
    offer(join(folder, entry->d_name));
  }
  closedir(listing);
  close(to);
}

static void *work(void *unused) {
  for (char *folder = take(0); folder; folder = take(1)) {
    copy_folder(folder);
    free(folder);
  }
  return unused;
}

int main(int argc, char **argv) {
  if (argc != 4) errx(2, "see the head of floor-walk.c");
  source = open(argv[1], O_RDONLY | O_DIRECTORY);
  target = open(argv[2], O_RDONLY | O_DIRECTORY);
  if (source < 0 || target < 0) err(1, "open");
  int threads = atoi(argv[3]);
  pthread_t thread[64];
  if (threads < 1 || threads > 64) errx(2, "1 to 64 threads");
  offer(strdup("."));
  for (int t = 0; t < threads; t++)
    if (pthread_create(&thread[t], NULL, work, NULL)) errx(1, "pthread_create");
  for (int t = 0; t < threads; t++) pthread_join(thread[t], NULL);
  return 0;
}
