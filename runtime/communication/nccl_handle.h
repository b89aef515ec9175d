#pragma once

#include <c10/core/Device.h>
#include <nccl.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <string>

#include "runtime/communication/communicator.h"

namespace kessoku::runtime {

/// NCCL's communicator of this rank, in NCCL's non-blocking mode: no call of it hangs. (NCCL starts
/// a thread for each group of calls then, but in blocking mode ranks are connected within
/// ncclGroupEnd, at their first transfer: for a peer that is gone the caller would wait for ever.)
/// Safe for concurrent use.
class NcclHandle {
 public:
  /// Collective over `host`. Throws UsageError if ranks share a GPU, and Error if the ranks have
  /// not met after `timeout` seconds (0 = waits for ever; exit code 76).
  NcclHandle(Communicator& host, at::Device device, double timeout);
  NcclHandle(const NcclHandle&) = delete;
  NcclHandle& operator=(const NcclHandle&) = delete;
  ~NcclHandle();

  /// `calls` enqueues something; several transfers are one group.
  void call(const char* operation, const std::function<ncclResult_t(ncclComm_t)>& calls);

  /// If the connection is lost, ends what is under way and says what happened.
  std::string failure();

 private:
  using Clock = std::chrono::steady_clock;
  bool is_over(Clock::time_point start) const;
  void check(ncclResult_t result, const char* operation) const;

  double timeout_;
  std::mutex mutex_;
  ncclComm_t comm_ = nullptr;
  std::string lost_;
};

}  // namespace kessoku::runtime
