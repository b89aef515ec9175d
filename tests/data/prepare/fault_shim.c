// LD_PRELOAD: makes calls of a program fail as on a machine that fails.
//   FAULT_CALL    open, read, list (a folder) or thread
//   FAULT_ERRNO   the number of the error
//   FAULT_FROM    the first call that fails, from 1; FAULT_ONCE=1: the only one
//   FAULT_SLOW    a file: while it is there, each pread of a store takes 0.5 s longer
//   FAULT_MATCH   end of the path of the files that are meant; not for thread
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int calls;

static int fails(const char* call, const char* path) {
  const char* wanted = getenv("FAULT_CALL");
  if (wanted == NULL || strcmp(wanted, call) != 0) return 0;
  const char* end = getenv("FAULT_MATCH");
  if (path != NULL && end != NULL) {
    const size_t length = strlen(path), tail = strlen(end);
    if (length < tail || strcmp(path + length - tail, end) != 0) return 0;
  }
  const int number = __sync_add_and_fetch(&calls, 1), from = atoi(getenv("FAULT_FROM"));
  return getenv("FAULT_ONCE") != NULL ? number == from : number >= from;
}

static int error_number(void) { return atoi(getenv("FAULT_ERRNO")); }

#define REAL(NAME) ((__typeof__(&NAME))dlsym(RTLD_NEXT, #NAME))

static mode_t mode_of(int flags, va_list list) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
}

#define WRAP_OPEN(NAME)                                              \
  int NAME(const char* path, int flags, ...) {                       \
    va_list list;                                                    \
    va_start(list, flags);                                           \
    const mode_t mode = mode_of(flags, list);                        \
    va_end(list);                                                    \
    if (fails((flags & O_DIRECTORY) != 0 ? "list" : "open", path)) { \
      errno = error_number();                                        \
      return -1;                                                     \
    }                                                                \
    return REAL(NAME)(path, flags, mode);                            \
  }
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_OPENAT(NAME)                                            \
  int NAME(int folder, const char* path, int flags, ...) {           \
    va_list list;                                                    \
    va_start(list, flags);                                           \
    const mode_t mode = mode_of(flags, list);                        \
    va_end(list);                                                    \
    if (fails((flags & O_DIRECTORY) != 0 ? "list" : "open", path)) { \
      errno = error_number();                                        \
      return -1;                                                     \
    }                                                                \
    return REAL(NAME)(folder, path, flags, mode);                    \
  }
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

DIR* opendir(const char* path) {
  if (fails("list", path)) {
    errno = error_number();
    return NULL;
  }
  return REAL(opendir)(path);
}

// "" if it has none.
static void path_of(int descriptor, char* path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, size - 1);
  path[length < 0 ? 0 : length] = '\0';
}

static int read_fails(int descriptor) {
  const char* wanted = getenv("FAULT_CALL");
  if (wanted == NULL || strcmp(wanted, "read") != 0) return 0;
  char path[4096];
  path_of(descriptor, path, sizeof path);
  return fails("read", path);
}

static void wait_if_slow(int descriptor) {
  const char* slow = getenv("FAULT_SLOW");
  if (slow == NULL || access(slow, F_OK) != 0) return;
  char path[4096];
  path_of(descriptor, path, sizeof path);
  if (strstr(path, ".h5") != NULL) usleep(500000);
}

ssize_t read(int descriptor, void* out, size_t bytes) {
  if (read_fails(descriptor)) {
    errno = error_number();
    return -1;
  }
  return REAL(read)(descriptor, out, bytes);
}

#define WRAP_PREAD(NAME)                                                \
  ssize_t NAME(int descriptor, void* out, size_t bytes, off_t offset) { \
    if (read_fails(descriptor)) {                                       \
      errno = error_number();                                           \
      return -1;                                                        \
    }                                                                   \
    wait_if_slow(descriptor);                                           \
    return REAL(NAME)(descriptor, out, bytes, offset);                  \
  }
WRAP_PREAD(pread)
WRAP_PREAD(pread64)

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) {
  if (fails("thread", NULL)) return error_number();
  return REAL(pthread_create)(thread, attributes, start, argument);
}
