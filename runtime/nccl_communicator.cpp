#include "runtime/nccl_communicator.h"

#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <nccl.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <thread>

#include "base/error.h"

namespace kessoku::runtime {

namespace {

using Clock = std::chrono::steady_clock;

ncclDataType_t number_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kLong:
      return ncclInt64;
    default:
      throw std::logic_error("NCCL sums f32, f64 and int64 tensors");
  }
}

/// An exchange that a stream was asked for.
struct Operation {
  uint64_t number;
  c10::Event end{at::kCUDA};
  std::vector<at::Tensor> tensors;  ///< that it uses
  std::atomic<bool> done = false;
};

/// Which of the operations on a stream are done, found out by a thread that also asks NCCL whether
/// the others are still there.
class StreamWatch {
 public:
  /// `failure`: what is wrong, or nothing.
  StreamWatch(std::shared_ptr<OperationLog> log, std::function<std::string()> failure)
      : log_(std::move(log)), failure_(std::move(failure)), thread_([this] { run(); }) {}

  ~StreamWatch() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void add(std::shared_ptr<Operation> operation) {
    {
      const std::lock_guard lock(mutex_);
      if (operations_.empty()) log_->begin(operation->number);
      operations_.push_back(std::move(operation));
    }
    changed_.notify_all();
  }

  void wait(const Operation& operation) {
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        look();
        // After a failure streams go on, but without what others should have sent.
        if (!error_.empty()) throw Error(ExitCode::kWatchdog, error_);
      }
      if (operation.done) return;
      std::this_thread::yield();
    }
  }

 private:
  /// With the mutex held.
  void look() {
    while (!operations_.empty() && operations_.front()->end.query()) {
      Operation& front = *operations_.front();
      log_->finish(front.number);
      front.tensors.clear();
      front.done = true;
      operations_.pop_front();
      if (!operations_.empty()) log_->begin(operations_.front()->number);
    }
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return closing_ || !operations_.empty(); });
      if (closing_) return;
      look();
      if (error_.empty()) error_ = failure_();
      constexpr auto kPause = std::chrono::milliseconds(1);
      changed_.wait_for(lock, kPause, [this] { return closing_; });
    }
  }

  std::shared_ptr<OperationLog> log_;
  std::function<std::string()> failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Operation>> operations_;  ///< that are not done, in order
  std::string error_;
  bool closing_ = false;
  std::thread thread_;
};

class StreamPending : public Pending {
 public:
  StreamPending(std::shared_ptr<Operation> operation, StreamWatch& watch)
      : operation_(std::move(operation)), watch_(watch) {}
  void wait() override { watch_.wait(*operation_); }
  bool done() const override { return operation_->done; }

 private:
  std::shared_ptr<Operation> operation_;
  StreamWatch& watch_;
};

/// What networks, GPUs and other ranks do may be over after a restart; what NCCL calls invalid is
/// our bug (but how ranks were started, see NcclHandle).
ExitCode code_of(ncclResult_t result) {
  return result == ncclSystemError || result == ncclUnhandledCudaError || result == ncclRemoteError
             ? ExitCode::kWatchdog
             : ExitCode::kInternal;
}

/// NCCL's communicator of this rank, in NCCL's non-blocking mode: no call of it hangs.
class NcclHandle {
 public:
  NcclHandle(Communicator& host, at::Device device, double timeout) : timeout_(timeout) {
    ncclUniqueId id{};
    if (host.rank() == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::string text = host.broadcast_text({id.internal, sizeof(id.internal)});
    std::memcpy(id.internal, text.data(), sizeof(id.internal));
    const c10::DeviceGuard guard(device);
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
  NcclHandle(const NcclHandle&) = delete;
  NcclHandle& operator=(const NcclHandle&) = delete;

  ~NcclHandle() {
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

  /// `calls` enqueues something; several transfers are one group.
  void call(const char* operation, const std::function<ncclResult_t(ncclComm_t)>& calls) {
    const std::lock_guard lock(mutex_);
    if (comm_ == nullptr) throw Error(ExitCode::kWatchdog, lost_);
    ncclResult_t state = calls(comm_);
    while (state == ncclInProgress) {  // connects to a rank for the first time
      std::this_thread::yield();
      check(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
    }
    check(state, operation);
  }

  /// If the connection is lost, ends what is under way and says what happened.
  std::string failure() {
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

 private:
  bool is_over(Clock::time_point start) const {
    return timeout_ > 0 && std::chrono::duration<double>(Clock::now() - start).count() > timeout_;
  }

  void check(ncclResult_t result, const char* operation) const {
    if (result == ncclSuccess) return;
    throw Error(code_of(result),
                fmt::format("{} by NCCL failed: {} ({}); NCCL_DEBUG=INFO tells more", operation,
                            ncclGetErrorString(result), ncclGetLastError(comm_)));
  }

  double timeout_;
  std::mutex mutex_;
  ncclComm_t comm_ = nullptr;
  std::string lost_;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, at::Device device, double timeout)
      : Communicator(host->log()),
        host_(std::move(host)),
        device_(device),
        stream_(c10::impl::VirtualGuardImpl(device.type())
                    .getStreamFromGlobalPool(device, /*isHighPriority=*/true)),
        nccl_(*host_, device, timeout),
        watch_(log(), [this] { return nccl_.failure(); }) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  int local_rank() const override { return host_->local_rank(); }
  int local_size() const override { return host_->local_size(); }
  void barrier() override { host_->barrier(); }

  std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) override {
    if (tensor.is_cpu()) return host_->all_reduce(tensor);
    const ncclDataType_t type = number_type(tensor);
    return enqueue("all-reduce", {tensor}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor), type, ncclSum,
                           comm, stream);
    });
  }

  std::unique_ptr<Pending> reduce_scatter(const at::Tensor& whole, at::Tensor& part,
                                          Wire wire) override {
    if (whole.is_cpu()) return host_->reduce_scatter(whole, part, wire);
    require_parts(whole, part);
    if (whole.scalar_type() != at::kFloat) throw std::logic_error("reduce-scatter takes f32");
    if (wire == Wire::kBFloat16) return exchange_and_sum(whole, part);
    return enqueue("reduce-scatter", {whole, part}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclReduceScatter(whole.data_ptr(), part.data_ptr(), count_of(part), ncclFloat32,
                               ncclSum, comm, stream);
    });
  }

  std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) override {
    if (whole.is_cpu()) return host_->all_gather(part, whole);
    require_parts(whole, part);
    return enqueue("all-gather", {whole, part}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllGather(part.data_ptr(), whole.data_ptr(), part.nbytes(), ncclInt8, comm,
                           stream);
    });
  }

  std::unique_ptr<Pending> broadcast(at::Tensor& tensor, int root) override {
    if (tensor.is_cpu()) return host_->broadcast(tensor, root);
    return enqueue("broadcast", {tensor}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclInt8, root,
                           comm, stream);
    });
  }

 private:
  static size_t count_of(const at::Tensor& tensor) { return static_cast<size_t>(tensor.numel()); }

  void require_parts(const at::Tensor& whole, const at::Tensor& part) const {
    if (!whole.is_contiguous() || !part.is_contiguous())
      throw std::logic_error("NCCL takes contiguous tensors");
    if (whole.numel() != part.numel() * size() || whole.scalar_type() != part.scalar_type())
      throw std::logic_error("the whole must be size() parts of one type");
  }

  using Calls = std::function<ncclResult_t(ncclComm_t, cudaStream_t)>;

  /// Once the current stream has got this far, the own one carries out `calls`, then what `after`
  /// asks for. `tensors` are what it uses, the first the one that is exchanged.
  std::unique_ptr<Pending> enqueue(
      const char* name, std::vector<at::Tensor> tensors, const Calls& calls,
      const std::function<void()>& after = [] {}) {
    auto operation = std::make_shared<Operation>();
    operation->number = log()->ask(name, static_cast<int64_t>(tensors.front().nbytes()));
    operation->tensors = std::move(tensors);
    c10::Event asked(device_.type());
    asked.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    const c10::StreamGuard guard(stream_);
    asked.block(stream_);
    nccl_.call(name, [&](ncclComm_t comm) {
      return calls(comm, static_cast<cudaStream_t>(stream_.native_handle()));
    });
    after();
    operation->end.record(stream_);
    watch_.add(operation);
    return std::make_unique<StreamPending>(std::move(operation), watch_);
  }

  /// Each part goes to its owner as bf16, who adds what it gets in f32, in the order that ranks on
  /// CPUs have too. NCCL's own sum would round to bf16 at each rank that it passes.
  std::unique_ptr<Pending> exchange_and_sum(const at::Tensor& whole, at::Tensor part) {
    const int64_t numel = part.numel();
    const at::Tensor sent = whole.to(at::kBFloat16);
    const at::Tensor received = at::empty({size(), numel}, sent.options());
    const auto exchange = [&](ncclComm_t comm, cudaStream_t stream) {
      const auto begun = [](ncclResult_t result) {
        return result == ncclSuccess || result == ncclInProgress;
      };
      ncclResult_t result = ncclGroupStart();
      const auto count = static_cast<size_t>(numel);
      for (int distance = 1; distance < size() && begun(result); ++distance) {
        const int from = (rank() - distance + size()) % size(), to = (rank() + distance) % size();
        result = ncclRecv(received[from].data_ptr(), count, ncclBfloat16, from, comm, stream);
        if (!begun(result)) break;
        result = ncclSend(sent.narrow(0, to * numel, numel).data_ptr(), count, ncclBfloat16, to,
                          comm, stream);
      }
      const ncclResult_t end = ncclGroupEnd();
      return begun(result) ? end : result;
    };
    const auto sum = [&] {
      const at::Tensor own = whole.narrow(0, rank() * numel, numel);
      if (own.data_ptr() != part.data_ptr()) part.copy_(own);
      for (int distance = 1; distance < size(); ++distance)
        part.add_(received[(rank() + distance) % size()]);
    };
    return enqueue("reduce-scatter", {whole, part, sent, received}, exchange, sum);
  }

  std::unique_ptr<Communicator> host_;
  at::Device device_;
  c10::Stream stream_;
  NcclHandle nccl_;
  StreamWatch watch_;  ///< last: it uses the others
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     at::Device device, double timeout) {
  return std::make_unique<NcclCommunicator>(std::move(host), device, timeout);
}

}  // namespace kessoku::runtime
