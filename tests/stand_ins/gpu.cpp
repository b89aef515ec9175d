// Stands in for libtorch_cuda.so on a machine without a GPU: tensors of device "cuda" live in host
// memory, and LibTorch's CPU kernels compute on them. What a GPU would refuse is refused: a tensor
// of the CPU among tensors of the GPU, and what is more than its memory (KESSOKU_STAND_IN_MEMORY
// bytes). Streams other than the default one work later, on threads of their own, so that what
// nobody waited for is not there yet. What the host hands over without waiting must stay as it is
// until it waits: copies read it late.
#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <future>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/stand_ins/stream.h"

namespace kessoku::stand_ins {

namespace {

constexpr int kStreams = 4;  // of the pool, for all devices together

int device_count() {
  const char* count = std::getenv("KESSOKU_STAND_IN_GPUS");
  return count == nullptr ? 4 : std::atoi(count);
}

Stream* pool_stream(c10::StreamId id) {
  // Never destroyed: the process may end while a stream hangs.
  static auto* streams = new std::array<Stream*, kStreams>{};
  static std::mutex mutex;
  if (id == 0) return nullptr;
  const std::lock_guard lock(mutex);
  Stream*& stream = (*streams)[static_cast<size_t>(id - 1) % kStreams];
  if (stream == nullptr) stream = new Stream(static_cast<int>(id));
  return stream;
}

/// How often the host has waited for a GPU so far. The process leaves it in a file under the name
/// in KESSOKU_STAND_IN_WAITS, with ".RANK" behind it.
class HostWaits {
 public:
  ~HostWaits() {
    const char* path = std::getenv("KESSOKU_STAND_IN_WAITS");
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    if (path != nullptr)
      std::ofstream(std::string(path) + "." + (rank == nullptr ? "0" : rank)) << count_;
  }
  void add() { ++count_; }

 private:
  std::atomic<int64_t> count_ = 0;
};
HostWaits host_waits;

/// What this thread's GPU was asked to copy from the host and may not have read yet.
class LateReads {
 public:
  void add(const at::Tensor& source) {
    const c10::Storage& storage = source.storage();
    reads_.push_back({storage.getWeakStorageImpl(), digest_of(*storage.unsafeGetStorageImpl())});
  }
  void end() {
    for (const Read& read : std::exchange(reads_, {})) {
      const auto source = read.source.lock();
      TORCH_CHECK(source && digest_of(*source) == read.digest,
                  "stand-in: memory that a GPU copies from was freed or changed too early");
    }
  }

 private:
  struct Read {
    c10::weak_intrusive_ptr<c10::StorageImpl> source;
    size_t digest;
  };
  static size_t digest_of(const c10::StorageImpl& storage) {
    return std::hash<std::string_view>()(
        {static_cast<const char*>(storage.data()), storage.nbytes()});
  }
  std::vector<Read> reads_;
};
thread_local LateReads late_reads;

void host_waited() {
  host_waits.add();
  late_reads.end();
}

void drain(c10::StreamId id) {
  if (Stream* queue = pool_stream(id)) queue->synchronize();
}

/// One version of an event: when its stream reached it.
using Version = std::shared_future<std::chrono::steady_clock::time_point>;
struct Event {
  Version version;
  bool is_timed = false;
};

bool is_done(const Version& version) {
  return !version.valid() || version.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

c10::Stream stream_of(c10::Device device, c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, device, id);
}

thread_local c10::DeviceIndex current_device = 0;
thread_local std::array<c10::StreamId, 64> current_streams{};
thread_local bool chose_device = false;
std::atomic<bool> is_broken = false;

/// A fault stays: all calls fail from then on.
void require_health() {
  if (!is_broken) return;
  constexpr int32_t kEccUncorrectable = 214;
  throw c10::AcceleratorError({__func__, __FILE__, __LINE__}, kEccUncorrectable,
                              "CUDA error: uncorrectable ECC error encountered");
}

/// A call that begins a context on the thread's GPU: the first one, if the thread never chose.
void touch_device() {
  TORCH_CHECK(chose_device, "stand-in: this thread uses a GPU without having chosen one");
  require_health();
}

class GuardImpl final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, current_device}; }
  void setDevice(c10::Device device) const override {
    current_device = device.index();
    chose_device = true;
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    current_device = device.index();
  }
  c10::Stream getStream(c10::Device device) const override {
    return stream_of(device, current_streams[static_cast<size_t>(device.index())]);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return stream_of(device, 0); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    static std::atomic<int> next = 0;
    return stream_of(device, 1 + next++ % kStreams);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const c10::Stream before = getStream(stream.device());
    current_streams[static_cast<size_t>(stream.device_index())] = stream.id();
    return before;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override {
    return pool_stream(stream.id());
  }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex,
              const c10::EventFlag flag) const override {
    touch_device();
    if (*event == nullptr) *event = new Event;
    const auto reached = std::make_shared<std::promise<std::chrono::steady_clock::time_point>>();
    static_cast<Event*>(*event)->version = reached->get_future().share();
    static_cast<Event*>(*event)->is_timed = flag == c10::EventFlag::BACKEND_DEFAULT;
    note("record stream=" + std::to_string(stream.id()));
    if (Stream* queue = pool_stream(stream.id())) {
      queue->enqueue([reached] { reached->set_value(std::chrono::steady_clock::now()); });
    } else {
      reached->set_value(std::chrono::steady_clock::now());
    }
  }
  void block(void* event, const c10::Stream& stream) const override {
    touch_device();
    const Version version = static_cast<Event*>(event)->version;
    note("wait stream=" + std::to_string(stream.id()));
    if (Stream* queue = pool_stream(stream.id())) {
      queue->enqueue([version] { version.wait(); });
    } else {
      version.wait();
    }
  }
  bool queryEvent(void* event) const override {
    touch_device();
    return event == nullptr || is_done(static_cast<Event*>(event)->version);
  }
  void synchronizeEvent(void* event) const override {
    host_waited();
    static_cast<Event*>(event)->version.wait();
  }
  double elapsedTime(void* first, void* second, const c10::DeviceIndex) const override {
    const auto* from = static_cast<Event*>(first);
    const auto* to = static_cast<Event*>(second);
    TORCH_CHECK(from->is_timed && to->is_timed && is_done(from->version) && is_done(to->version),
                "stand-in: times of events that are not timed, or not reached");
    return std::chrono::duration<double, std::milli>(to->version.get() - from->version.get())
        .count();
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Event*>(event);
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return static_cast<c10::DeviceIndex>(device_count());
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    host_waited();
    drain(stream.id());
  }
};

C10_REGISTER_GUARD_IMPL(CUDA, GuardImpl)

/// The name under which LibTorch looks for it.
struct CUDAHooks : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool hasCUDA() const override { return device_count() > 0; }
  c10::DeviceIndex deviceCount() const override {
    return static_cast<c10::DeviceIndex>(device_count());
  }
  c10::DeviceIndex current_device() const override { return stand_ins::current_device; }
  c10::DeviceIndex getCurrentDevice() const override { return stand_ins::current_device; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
};

}  // namespace

}  // namespace kessoku::stand_ins

namespace at {
using kessoku::stand_ins::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at

namespace kessoku::stand_ins {

namespace {

using at::Tensor;

/// Counts the bytes of the GPUs' tensors.
class Memory final : public c10::DeviceAllocator {
 public:
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    const std::lock_guard lock(mutex_);
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0] = stats.reserved_bytes[0] = used_.at(static_cast<size_t>(device));
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex device) override {
    const std::lock_guard lock(mutex_);
    used_.at(static_cast<size_t>(device)).reset_peak();
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    const std::lock_guard lock(mutex_);
    const auto used = static_cast<size_t>(used_.at(static_cast<size_t>(device)).current);
    return {limit_ - used, limit_};
  }
  c10::DataPtr allocate(size_t) override {
    TORCH_CHECK(false, "stand-in: memory of a GPU is that of its tensors");
  }
  void copy_data(void*, const void*, std::size_t) const override {
    TORCH_CHECK(false, "stand-in: memory of a GPU is that of its tensors");
  }

  void take(c10::Device device, size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto& used = used_.at(static_cast<size_t>(device.index()));
    TORCH_CHECK_WITH(OutOfMemoryError, static_cast<size_t>(used.current) + bytes <= limit_,
                     "CUDA out of memory. Tried to allocate ", bytes, " bytes. GPU ",
                     static_cast<int>(device.index()), " has ", limit_, ", of which ", used.current,
                     " are in use.");
    used.increase(bytes);
  }
  void give_back(c10::Device device, size_t bytes) {
    const std::lock_guard lock(mutex_);
    used_.at(static_cast<size_t>(device.index())).decrease(bytes);
  }

 private:
  static size_t limit() {
    const char* bytes = std::getenv("KESSOKU_STAND_IN_MEMORY");
    return bytes == nullptr ? size_t{80} << 30 : std::strtoull(bytes, nullptr, 10);
  }

  const size_t limit_ = limit();
  std::mutex mutex_;
  std::array<c10::CachingAllocator::Stat, 64> used_{};
};

Memory& memory() {
  static auto* memory = new Memory;  // tensors may be freed late
  return *memory;
}

/// Where LibTorch looks for it.
const bool is_registered = [] {
  c10::SetAllocator(c10::kCUDA, &memory());
  return true;
}();

/// The same memory as `storage`, which it keeps, under another device.
c10::Storage storage_on(c10::Device device, const c10::Storage& storage, c10::Allocator* grow) {
  struct Kept {
    c10::Storage storage;
    c10::Device device;
    size_t bytes;
    ~Kept() {
      if (device.is_cuda()) memory().give_back(device, bytes);
    }
  };
  if (device.is_cuda()) memory().take(device, storage.nbytes());
  auto* kept = new Kept{storage, device, storage.nbytes()};
  c10::DataPtr memory(
      storage.mutable_data(), kept, [](void* kept) { delete static_cast<Kept*>(kept); }, device);
  return {c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(memory), grow,
          /*resizable=*/grow != nullptr};
}

Tensor tensor_over(const c10::Storage& storage, const Tensor& like) {
  Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage),
      c10::DispatchKeySet(storage.device().is_cuda() ? c10::DispatchKey::CUDA
                                                     : c10::DispatchKey::CPU),
      like.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(),
                                                      like.storage_offset());
  return tensor;
}

/// Tensors of the GPU, and the same memory as tensors of the CPU, for the time of one operator.
class Aliases {
 public:
  explicit Aliases(const c10::OperatorHandle& op) : op_(op) {}

  Tensor host(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_cuda()) {
      if (tensor.defined() && tensor.dim() > 0) ++of_cpu_;
      if (tensor.defined()) on_cpu_.push_back(tensor);
      return tensor;
    }
    for (const Pair& pair : pairs_)
      if (pair.device.is_same(tensor)) return pair.host;
    const Tensor alias =
        tensor_over(storage_on(c10::kCPU, tensor.storage(), c10::GetCPUAllocator()), tensor);
    pairs_.push_back({tensor, alias, alias.storage()});
    return alias;
  }

  Tensor device(const Tensor& result) const {
    if (!result.defined() || result.is_cuda()) return result;
    for (const Tensor& tensor : on_cpu_)
      if (tensor.is_same(result)) return result;  // what was copied to
    for (const Pair& pair : pairs_) {
      if (pair.host.is_same(result)) return pair.device;
      if (pair.before.is_alias_of(result.storage()))
        return tensor_over(pair.device.storage(), result);  // a view
    }
    return tensor_over(storage_on(device_, result.storage(), nullptr), result);
  }

  /// After the operator: what was given as output may have got another size.
  void update() const {
    for (const Pair& pair : pairs_) {
      c10::TensorImpl* impl = pair.device.unsafeGetTensorImpl();
      if (pair.host.storage().data() != pair.device.storage().data())
        impl->set_storage_keep_dtype(storage_on(device_, pair.host.storage(), nullptr));
      if (pair.host.sizes() != pair.device.sizes() || pair.host.strides() != pair.device.strides())
        impl->set_sizes_and_strides(pair.host.sizes(), pair.host.strides());
    }
  }

  void set_device(c10::Device device) { device_ = device; }

  /// As kernels of a GPU would.
  void refuse_mixtures() {
    if (!pairs_.empty()) device_ = pairs_.front().device.device();
    for (const Pair& pair : pairs_) {
      TORCH_CHECK(pair.device.device() == device_ || pair.device.dim() == 0, op_.schema().name(),
                  ": tensors of ", device_, " and ", pair.device.device());
    }
    TORCH_CHECK(pairs_.empty() || of_cpu_ == 0 || op_.schema().name() == "aten::copy_",
                op_.schema().name(), ": a tensor is on the CPU, others are on ", device_);
  }

 private:
  struct Pair {
    Tensor device, host;
    c10::Storage before;
  };
  const c10::OperatorHandle& op_;
  std::vector<Pair> pairs_;
  std::vector<Tensor> on_cpu_;
  int of_cpu_ = 0;
  c10::Device device_{c10::kCUDA, current_device};
};

c10::IValue to_host(Aliases& aliases, const c10::IValue& value) {
  if (value.isTensor()) return aliases.host(value.toTensor());
  if (value.isDevice()) {
    aliases.set_device(value.toDevice().has_index() ? value.toDevice()
                                                    : c10::Device(c10::kCUDA, current_device));
    return c10::Device(c10::kCPU);
  }
  if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor& tensor : value.toTensorVector()) list.push_back(aliases.host(tensor));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> list;
    for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
      list.push_back(tensor ? std::optional(aliases.host(*tensor)) : std::nullopt);
    return list;
  }
  return value;
}

c10::IValue to_device(const Aliases& aliases, const c10::IValue& value) {
  if (value.isTensor()) return aliases.device(value.toTensor());
  if (!value.isTensorList()) return value;
  c10::List<Tensor> list;
  for (const Tensor& tensor : value.toTensorVector()) list.push_back(aliases.device(tensor));
  return list;
}

int64_t operators_until(const char* variable) {
  const char* count = std::getenv(variable);
  return count == nullptr ? std::numeric_limits<int64_t>::max() : std::atoll(count);
}

/// How many operators a GPU carries out before its memory is full, or before it breaks.
void strike() {
  static const int64_t full = operators_until("KESSOKU_STAND_IN_OPERATORS");
  static const int64_t broken = operators_until("KESSOKU_STAND_IN_BROKEN");
  static std::atomic<int64_t> operators = 0;
  const int64_t count = ++operators;
  TORCH_CHECK_WITH(OutOfMemoryError, count <= full,
                   "CUDA out of memory. Tried to allocate 2.00 GiB.");
  if (count > broken) is_broken = true;
  require_health();
}

/// Whether the host can only go on when the GPU has come this far.
bool waits(const std::string& name, std::span<const c10::IValue> arguments) {
  if (name == "aten::_local_scalar_dense" || name == "aten::equal" || name == "aten::nonzero" ||
      name == "aten::masked_select")
    return true;
  if (name != "aten::copy_") return false;
  const bool from_gpu = arguments[1].toTensor().is_cuda();
  if (from_gpu == arguments[0].toTensor().is_cuda()) return false;
  return from_gpu || !arguments[2].toBool();
}

void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  strike();
  drain(current_streams[static_cast<size_t>(current_device)]);
  Aliases aliases(op);
  const auto top = [&](size_t count) { return std::span(*stack).last(count); };
  const std::span<c10::IValue> arguments = top(op.schema().arguments().size());
  if (waits(op.schema().name(), arguments)) {
    host_waited();
  } else if (op.schema().name() == "aten::copy_" && !arguments[1].toTensor().is_cuda()) {
    late_reads.add(arguments[1].toTensor());
  }
  for (c10::IValue& value : arguments) value = to_host(aliases, value);
  aliases.refuse_mixtures();
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  aliases.update();
  for (c10::IValue& value : top(op.schema().returns().size())) value = to_device(aliases, value);
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

// LibTorch has kernels of these for all devices, which ask for more of a GPU than is here.
TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  for (const char* name : {"copy_", "convolution", "convolution_backward", "_fused_sdp_choice"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

}  // namespace

}  // namespace kessoku::stand_ins
