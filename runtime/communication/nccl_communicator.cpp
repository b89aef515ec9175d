#include "runtime/communication/nccl_communicator.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <dlfcn.h>

#include "runtime/communication/nccl_handle.h"
#include "runtime/communication/stream_watcher.h"
#include "runtime/communication/tree_exchange.h"

namespace kessoku::runtime {

namespace {

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

/// CUDA's own handle of a stream. LibTorch before 2.11 has it in its CUDA library alone, which is
/// not linked but loaded when a GPU is chosen: a method of c10::cuda::CUDAStream, which is nothing
/// but a c10::Stream.
template <typename Stream>
cudaStream_t native_handle(const Stream& stream) {
  if constexpr (requires { stream.native_handle(); }) {
    return static_cast<cudaStream_t>(stream.native_handle());
  } else {
    constexpr const char* kMethod = "_ZNK3c104cuda10CUDAStream6streamEv";
    using Method = cudaStream_t (*)(const Stream*);
    static const auto method = reinterpret_cast<Method>(::dlsym(RTLD_DEFAULT, kMethod));
    if (method == nullptr) throw std::logic_error("LibTorch's CUDA library has no streams");
    return method(&stream);
  }
}

class StreamPending : public Pending {
 public:
  StreamPending(std::shared_ptr<StreamOperation> operation, StreamWatcher& watch, at::Device device)
      : operation_(std::move(operation)), watch_(watch), device_(device) {}
  void wait() override { watch_.wait(*operation_); }
  void order() override {
    operation_->end.block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  bool done() const override { return operation_->done; }

 private:
  std::shared_ptr<StreamOperation> operation_;
  StreamWatcher& watch_;
  at::Device device_;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, at::Device device, double timeout,
                   Reduction reduction)
      : Communicator(host->log()),
        host_(std::move(host)),
        device_(device),
        reduction_(reduction),
        stream_(c10::impl::VirtualGuardImpl(device.type())
                    .getStreamFromGlobalPool(device, /*isHighPriority=*/true)),
        nccl_(*host_, device, timeout),
        watch_(device, log(), [this] { return nccl_.failure(); }) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  int local_rank() const override { return host_->local_rank(); }
  int local_size() const override { return host_->local_size(); }
  std::vector<int> hosts() const override { return host_->hosts(); }
  void barrier() override { host_->barrier(); }

  std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) override {
    if (tensor.is_cpu()) return host_->all_reduce(tensor);
    const ncclDataType_t type = number_type(tensor);
    count_all_reduce(tensor);
    return enqueue("all-reduce", {tensor}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor), type, ncclSum,
                           comm, stream);
    });
  }

  std::unique_ptr<Pending> reduce_scatter(const std::vector<at::Tensor>& blocks, at::Tensor& part,
                                          const SummationTree& tree, Wire wire) override {
    if (part.is_cpu()) return host_->reduce_scatter(blocks, part, tree, wire);
    require_blocks(blocks, part, tree);
    const bool one_each = tree.leaves() == tree.ranks();
    if (wire == Wire::kBFloat16 || reduction_ == Reduction::kExact || !one_each)
      return exchange_and_sum(blocks, part, tree, wire);
    const at::Tensor& whole = blocks.front();
    count_parts("reduce-scatter", part);
    return enqueue("reduce-scatter", {whole, part}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclReduceScatter(whole.data_ptr(), part.data_ptr(), count_of(part), ncclFloat32,
                               ncclSum, comm, stream);
    });
  }

  std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) override {
    if (whole.is_cpu()) return host_->all_gather(part, whole);
    require_parts(whole, part);
    count_parts("all-gather", part);
    return enqueue("all-gather", {whole, part}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllGather(part.data_ptr(), whole.data_ptr(), part.nbytes(), ncclInt8, comm,
                           stream);
    });
  }

  std::unique_ptr<Pending> shift(const at::Tensor& sent, at::Tensor& received,
                                 int distance) override {
    return host_->shift(sent, received, distance);
  }

  std::unique_ptr<Pending> broadcast(at::Tensor& tensor, int root) override {
    if (tensor.is_cpu()) return host_->broadcast(tensor, root);
    count_broadcast(tensor, root);
    return enqueue("broadcast", {tensor}, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclInt8, root,
                           comm, stream);
    });
  }

 private:
  static size_t count_of(const at::Tensor& tensor) { return static_cast<size_t>(tensor.numel()); }

  using Calls = std::function<ncclResult_t(ncclComm_t, cudaStream_t)>;

  /// Once the current stream has got this far, the own one carries out `calls`. `tensors` are what
  /// it uses, the first the one that is exchanged.
  std::unique_ptr<Pending> enqueue(const char* name, std::vector<at::Tensor> tensors,
                                   const Calls& calls) {
    return enqueue_work(name, std::move(tensors), [&](StreamOperation&) { call(name, calls); });
  }

  void call(const char* name, const Calls& calls) {
    nccl_.call(name, [&](ncclComm_t comm) { return calls(comm, native_handle(stream_)); });
  }

  /// The same of anything that `work` asks the own stream for.
  std::unique_ptr<Pending> enqueue_work(const char* name, std::vector<at::Tensor> tensors,
                                        const std::function<void(StreamOperation&)>& work) {
    auto operation = std::make_shared<StreamOperation>();
    operation->number = log()->ask(name, static_cast<int64_t>(tensors.front().nbytes()));
    operation->tensors = std::move(tensors);
    c10::Event asked(device_.type());
    asked.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    const c10::StreamGuard guard(stream_);
    asked.block(stream_);
    watch_.add(operation);
    const auto end = [&] {
      operation->end.record(stream_);
      operation->asked = true;
    };
    try {
      work(*operation);
    } catch (...) {
      end();  // what is under way already is ended, and keeps its tensors until then
      throw;
    }
    end();
    return std::make_unique<StreamPending>(std::move(operation), watch_, device_);
  }

  /// In the order that ranks on CPUs have too. NCCL's own sum would depend on the number of ranks
  /// and, in bf16, round at each rank that it passes.
  std::unique_ptr<Pending> exchange_and_sum(const std::vector<at::Tensor>& blocks,
                                            const at::Tensor& part, const SummationTree& tree,
                                            Wire wire) {
    std::vector<at::Tensor> used = blocks;  // the first tells how many bytes
    used.push_back(part);
    return enqueue_work("reduce-scatter", std::move(used), [&](StreamOperation& operation) {
      // Several exchanges share the staging: the stream carries out one after the other.
      TreeExchange exchange(blocks, part, {tree, hosts()}, wire, rank(), staging_);
      for (size_t round = 0; round < exchange.rounds(); ++round) {
        exchange.begin_round();
        if (round == 0) operation.tensors.push_back(staging_.memory());
        call("reduce-scatter", [&](ncclComm_t comm, cudaStream_t stream) {
          return transfer(exchange, comm, stream);
        });
        log()->count("reduce-scatter", exchange.traffic());
        exchange.finish_round();
      }
    });
  }

  /// The messages of a round, in one group.
  static ncclResult_t transfer(const TreeExchange& exchange, ncclComm_t comm, cudaStream_t stream) {
    const auto begun = [](ncclResult_t result) {
      return result == ncclSuccess || result == ncclInProgress;
    };
    const auto type = [](const at::Tensor& tensor) {
      return tensor.scalar_type() == at::kBFloat16 ? ncclBfloat16 : ncclFloat32;
    };
    ncclResult_t result = ncclGroupStart();
    for (const auto& [peer, tensor] : exchange.receives()) {
      if (!begun(result)) break;
      result = ncclRecv(tensor.data_ptr(), count_of(tensor), type(tensor), peer, comm, stream);
    }
    for (const auto& [peer, tensor] : exchange.sends()) {
      if (!begun(result)) break;
      result = ncclSend(tensor.data_ptr(), count_of(tensor), type(tensor), peer, comm, stream);
    }
    const ncclResult_t end = ncclGroupEnd();
    return begun(result) ? end : result;
  }

  std::unique_ptr<Communicator> host_;
  at::Device device_;
  Reduction reduction_;
  c10::Stream stream_;
  Staging staging_;  ///< that the own stream alone uses
  NcclHandle nccl_;
  StreamWatcher watch_;  ///< last: it uses the others
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     at::Device device, double timeout,
                                                     Reduction reduction) {
  return std::make_unique<NcclCommunicator>(std::move(host), device, timeout, reduction);
}

}  // namespace kessoku::runtime
