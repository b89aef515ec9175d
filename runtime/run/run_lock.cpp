#include "runtime/run/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/process/process.h"
#include "base/process/stderr_line.h"
#include "base/system_error.h"

namespace kessoku::runtime {

namespace {

using namespace std::chrono_literals;

/// For one on this host that is about to stop; NFS servers give up a lost client's locks after 90
/// s.
constexpr auto kHere = 10s, kElsewhere = 100s;

/// What the holder wrote: "process N on HOST".
std::string holder_of(int descriptor) {
  char text[300] = {};
  const ssize_t got = ::pread(descriptor, text, sizeof text - 1, 0);
  return got > 0 ? std::string(text, static_cast<size_t>(got)) : "a process";
}

/// Whether another holds it. Warns where the file system has no locks.
bool is_taken(int descriptor, const std::filesystem::path& run) {
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return false;
  if (errno == EWOULDBLOCK) return true;
  log_warning(
      "{}: cannot be locked: {}; nothing keeps a second training out of this "
      "folder",
      run.string(), std::strerror(errno));
  return false;
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& run)
    : descriptor_(::open((run / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw_system("create", run / "lock");
  const std::string here = " on " + host_name();
  const auto start = std::chrono::steady_clock::now();
  for (bool told = false; is_taken(descriptor_, run); told = true) {
    const std::string holder = holder_of(descriptor_);
    const auto patience = holder.ends_with(here) ? kHere : kElsewhere;
    if (std::chrono::steady_clock::now() - start > patience) {
      ::close(descriptor_);
      throw UsageError(
          fmt::format("{}: {} trains in this folder: stop it first, or give another "
                      "--out",
                      run.string(), holder));
    }
    if (!told) {
      write_line(fmt::format("{}: {} trains in this folder; waits up to {} s for its end",
                             run.string(), holder, patience.count()));
    }
    std::this_thread::sleep_for(20ms);
  }
  const std::string own = fmt::format("process {}{}", ::getpid(), here);
  // Who cannot read it only misses a name.
  if (::ftruncate(descriptor_, 0) == 0) {
    [[maybe_unused]] const ssize_t put = ::pwrite(descriptor_, own.data(), own.size(), 0);
  }
}

RunLock::~RunLock() { ::close(descriptor_); }

}  // namespace kessoku::runtime
