#include "data/store/store_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <regex>

#include "base/error.h"
#include "base/folder.h"
#include "base/log.h"
#include "base/system_error.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

constexpr char kLock[] = "prepare.lock";

/// "shard-NNNNN.h5", "rows-NNNNN-K.h5", and what is unfinished of them: a dataset may well have
/// images called shard-1.png.
bool is_shard_file(const std::string& name) {
  static const std::regex pattern(R"((shard|rows)-\d+(-\d+)*\.h5(\.journal|\.part|\.tmp\d+)?)");
  return std::regex_match(name, pattern);
}

bool is_store_file(const std::string& name) {
  static const std::regex manifest(R"(store\.json(\.tmp\d+)?)");
  return is_shard_file(name) || std::regex_match(name, manifest) || name == kLock;
}

bool same_file(int descriptor, const fs::path& path) {
  struct stat ours {
  }, theirs{};
  return ::fstat(descriptor, &ours) == 0 && ::stat(path.c_str(), &theirs) == 0 &&
         ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

std::string this_process() {
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  return fmt::format("process {} on {}", ::getpid(), host);
}

}  // namespace

StoreLock::StoreLock(const fs::path& store) : path_(store / kLock) {
  while (true) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) throw_system("create", path_);
    const int failure = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (failure != 0 && failure != EWOULDBLOCK) {
      log_warning(
          "{}: cannot be locked: {}; nothing keeps a second kessoku prepare out of "
          "this store",
          store.string(), std::strerror(failure));
    }
    if (failure == EWOULDBLOCK) {
      char holder[300] = "";
      const ssize_t got = ::pread(descriptor_, holder, sizeof(holder) - 1, 0);
      ::close(descriptor_);
      throw UsageError(
          fmt::format("{}: another kessoku prepare ({}) is writing this store; wait "
                      "until it has ended, or give another --out",
                      store.string(), got > 0 ? holder : "just begun"));
    }
    if (same_file(descriptor_, path_)) break;  // else its last holder has just removed it
    ::close(descriptor_);
  }
  const std::string holder = this_process();
  if (::ftruncate(descriptor_, 0) == 0) [[maybe_unused]]
    const ssize_t put = ::pwrite(descriptor_, holder.data(), holder.size(), 0);
}

StoreLock::~StoreLock() {
  std::error_code ignored;
  fs::remove(path_, ignored);
  ::close(descriptor_);
}

void open_store_folder(const fs::path& store) {
  if (is_file(store)) throw UsageError(fmt::format("{}: not a folder", store.string()));
  if (is_folder(store)) {
    for (const auto& entry : list_folder(store)) {
      const std::string name = entry.path().filename().string();
      if (is_store_file(name)) continue;
      throw UsageError(fmt::format("{}: holds other files ({}); give --out a new folder or a store",
                                   store.string(), name));
    }
    return;
  }
  std::error_code error;
  fs::create_directories(store, error);
  if (error) {
    errno = error.value();
    throw_system("create", store);
  }
}

void remove_leftovers(const fs::path& store, const StoreManifest& manifest, bool done) {
  std::set<std::string> used;
  for (const StoreManifest::Shard& shard : manifest.shards) {
    used.insert(shard.file);
    used.insert(shard.rows_file);
  }
  std::vector<fs::path> leftovers;
  for (const auto& entry : list_folder(store)) {
    const std::string name = entry.path().filename().string();
    const std::string shard = name.substr(0, name.find(".h5") + 3);
    const bool unnamed = is_shard_file(name) && !used.contains(name);
    if (unnamed && (done || !fs::exists(store / (shard + ".journal"))))
      leftovers.push_back(entry.path());
  }
  std::error_code ignored;
  for (const fs::path& path : leftovers) fs::remove(path, ignored);
}

fs::path free_shard_path(const fs::path& store, int number) {
  for (int k = 1;; ++k) {
    const fs::path path = store / (k == 1 ? fmt::format("shard-{:05}.h5", number)
                                          : fmt::format("shard-{:05}-{}.h5", number, k));
    // A part without a journal is of no use to anyone.
    const bool taken = fs::exists(path) || fs::exists(path.string() + ".journal");
    if (!taken) return path;
  }
}

}  // namespace kessoku::data
