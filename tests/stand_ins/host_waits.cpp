#include "tests/stand_ins/host_waits.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace kessoku::stand_ins {

namespace {

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

size_t digest_of(const c10::StorageImpl& storage) {
  return std::hash<std::string_view>()(
      {static_cast<const char*>(storage.data()), storage.nbytes()});
}

/// Copies between host and GPU that the host does not know the end of.
class Copies {
 public:
  void read(const at::Tensor& source, int stream, uint64_t number) {
    const c10::Storage& storage = source.storage();
    const std::lock_guard lock(mutex_);
    reads_.push_back(
        {stream, number, storage.getWeakStorageImpl(), digest_of(*storage.unsafeGetStorageImpl())});
  }
  void write(const at::Tensor& target, const at::Tensor& values, int stream, uint64_t number) {
    std::memset(target.mutable_data_ptr(), 0xff, target.nbytes());
    const std::lock_guard lock(mutex_);
    writes_.push_back({stream, number, target, values});
  }
  void end_those_done() {
    const std::lock_guard lock(mutex_);
    std::erase_if(writes_, [](const Write& write) {
      const bool done = stream_order().is_done(write.stream, write.number);
      if (done)
        std::memcpy(write.target.mutable_data_ptr(), write.values.const_data_ptr(),
                    write.target.nbytes());
      return done;
    });
    bool kept = true;
    std::erase_if(reads_, [&](const Read& read) {
      const bool done = stream_order().is_done(read.stream, read.number);
      if (done) {
        const auto source = read.source.lock();
        kept &= source && digest_of(*source) == read.digest;
      }
      return done;
    });
    TORCH_CHECK(kept, "stand-in: memory that a GPU copies from was freed or changed too early");
  }

 private:
  struct Read {
    int stream;
    uint64_t number;
    c10::weak_intrusive_ptr<c10::StorageImpl> source;
    size_t digest;
  };
  struct Write {
    int stream;
    uint64_t number;
    at::Tensor target, values;
  };
  std::mutex mutex_;
  std::vector<Read> reads_;
  std::vector<Write> writes_;
};
Copies& copies() {
  static auto* copies = new Copies;  // tensors may outlive LibTorch's own statics
  return *copies;
}

/// The latest of the stream's work.
uint64_t number_of(int stream) {
  return stream_order().clock_of(stream)[static_cast<size_t>(stream)];
}

}  // namespace

void count_host_wait() { host_waits.add(); }

void wait_for_stream(int stream) {
  count_host_wait();
  const Clock clock = stream_order().clock_of(stream);
  stand_ins::stream(stream).synchronize();
  host_knows(clock);
}

void host_knows(const Clock& clock) {
  stream_order().host_waited(clock);
  copies().end_those_done();
}

void read_late(const at::Tensor& source, int stream) {
  copies().read(source, stream, number_of(stream));
}

void write_late(const at::Tensor& target, const at::Tensor& values, int stream) {
  copies().write(target, values, stream, number_of(stream));
}

}  // namespace kessoku::stand_ins
