// LD_PRELOAD: a file system without links, locks and flushes of folders, as exFAT, CIFS or FUSE ones.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(int number) {
  errno = number;
  return -1;
}

int symlink(const char* target, const char* path) { return refuse(EPERM); }
int symlinkat(const char* target, int folder, const char* path) { return refuse(EPERM); }
int link(const char* from, const char* to) { return refuse(EPERM); }
int flock(int descriptor, int operation) { return refuse(ENOLCK); }

int fsync(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode)) return refuse(EINVAL);
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(descriptor);
}
