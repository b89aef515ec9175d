#include "runtime/communication/nccl_handle.h"

#include <c10/core/DeviceGuard.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>

#include "base/error.h"

namespace kessoku::runtime {

namespace {

/// What networks, GPUs and other ranks do may be over after a restart; what NCCL calls invalid is
/// our bug (but how ranks were started, see NcclHandle).
ExitCode code_of(ncclResult_t result) {
  return result == ncclSystemError || result == ncclUnhandledCudaError || result == ncclRemoteError
             ? ExitCode::kWatchdog
             : ExitCode::kInternal;
}

}  // namespace

NcclHandle::NcclHandle(Communicator& host, at::Device device, double timeout) : timeout_(timeout) {
  ncclUniqueId id{};
  if (host.rank() == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
  const std::string text = host.broadcast_text({id.internal, sizeof(id.internal)});
  std::memcpy(id.internal, text.data(), sizeof(id.internal));
  const c10::DeviceGuard guard(device);
  // Sums that switches make (NVLink SHARP) differ from those of rings. What the user set stays.
  ::setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = "kessoku";
  const Clock::time_point start = Clock::now();
  ncclResult_t state = ncclCommInitRankConfig(&comm_, host.size(), id, host.rank(), &config);
  while (state == ncclInProgress) {
    if (is_over(start)) {
      ncclCommAbort(comm_);
      throw Error(ExitCode::kWatchdog,
                  fmt::format("NCCL did not connect the GPUs of {} ranks in {} s "
                              "(communication.timeout_seconds); NCCL_DEBUG=INFO tells what it "
                              "waits for, NCCL_SOCKET_IFNAME chooses the network",
                              host.size(), timeout));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    check(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
  }
  if (state == ncclInvalidUsage) {
    throw UsageError(fmt::format(
        "NCCL cannot connect ranks that were started so: {}; start one rank a GPU, and let "
        "CUDA_VISIBLE_DEVICES show each of them another GPU, or all",
        ncclGetLastError(comm_)));
  }
  check(state, "ncclCommInitRankConfig");
}

NcclHandle::~NcclHandle() {
  if (comm_ == nullptr) return;
  // Others wait for a rank that leaves by an exception: what is under way will never end.
  if (std::uncaught_exceptions() > 0) {
    ncclCommAbort(comm_);
    return;
  }
  const Clock::time_point start = Clock::now();
  ncclResult_t state = ncclCommFinalize(comm_);
  while (state == ncclInProgress && !is_over(start)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) break;
  }
  // Another rank may be lost after the last step, when all work is done.
  state == ncclSuccess ? ncclCommDestroy(comm_) : ncclCommAbort(comm_);
}

void NcclHandle::call(const char* operation, const std::function<ncclResult_t(ncclComm_t)>& calls) {
  const std::lock_guard lock(mutex_);
  if (comm_ == nullptr) throw Error(ExitCode::kWatchdog, lost_);
  ncclResult_t state = calls(comm_);
  while (state == ncclInProgress) {  // connects to a rank for the first time
    std::this_thread::yield();
    check(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
  }
  check(state, operation);
}

std::string NcclHandle::failure() {
  const std::unique_lock lock(mutex_, std::try_to_lock);  // a call under way finds out itself
  if (!lock || comm_ == nullptr) return "";
  ncclResult_t state = ncclSuccess;
  if (ncclCommGetAsyncError(comm_, &state) == ncclSuccess &&
      (state == ncclSuccess || state == ncclInProgress))
    return "";
  lost_ = fmt::format("NCCL lost another rank: {} {}", ncclGetErrorString(state),
                      ncclGetLastError(comm_));
  ncclCommAbort(comm_);
  comm_ = nullptr;
  return lost_;
}

bool NcclHandle::is_over(Clock::time_point start) const {
  return timeout_ > 0 && std::chrono::duration<double>(Clock::now() - start).count() > timeout_;
}

void NcclHandle::check(ncclResult_t result, const char* operation) const {
  if (result == ncclSuccess) return;
  throw Error(code_of(result),
              fmt::format("{} by NCCL failed: {} ({}); NCCL_DEBUG=INFO tells more", operation,
                          ncclGetErrorString(result), ncclGetLastError(comm_)));
}

}  // namespace kessoku::runtime
