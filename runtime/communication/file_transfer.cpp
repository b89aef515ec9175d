#include "runtime/communication/file_transfer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <span>

#include "base/file.h"
#include "base/output_file.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kChunk = uint64_t{4} << 20;

/// The chunk of `bytes` from `begin` on, which may be beyond their end.
at::Tensor chunk_of(std::span<const std::byte> bytes, uint64_t begin) {
  begin = std::min<uint64_t>(begin, bytes.size());
  void* data = const_cast<std::byte*>(bytes.data() + begin);  // only read
  return at::from_blob(data, {static_cast<int64_t>(std::min(kChunk, bytes.size() - begin))},
                       at::kByte);
}

at::Tensor number(uint64_t value) {
  return at::scalar_tensor(static_cast<int64_t>(value), at::kLong);
}

/// A file that comes in chunks. The others go on sending if something goes wrong here: that is kept
/// until the file's end.
class ReceivedFile {
 public:
  explicit ReceivedFile(fs::path path) : path_(std::move(path)) {
    attempt([&] {
      fs::create_directories(path_.parent_path());
      out_.emplace(path_);
    });
  }
  void write(const at::Tensor& chunk) {
    attempt([&] {
      out_->write({static_cast<const std::byte*>(chunk.const_data_ptr()), chunk.nbytes()});
    });
    size_ += chunk.nbytes();
  }
  void finish() {
    attempt([&] {
      out_->finish();
      fs::resize_file(path_, size_);  // it may have been longer
    });
    if (failure_) std::rethrow_exception(failure_);
  }
  /// Does `work`, unless something has gone wrong.
  template <typename Work>
  void attempt(const Work& work) {
    if (failure_) return;
    try {
      work();
    } catch (const std::exception&) {
      failure_ = std::current_exception();
    }
  }

 private:
  fs::path path_;
  uint64_t size_ = 0;
  std::optional<OutputFile> out_;
  std::exception_ptr failure_;
};

}  // namespace

void broadcast_file(const fs::path& path, int root, bool target, Communicator& communicator) {
  std::optional<MappedFile> source;
  if (communicator.rank() == root) source.emplace(path);
  at::Tensor size = number(source ? source->bytes().size() : 0);
  communicator.broadcast(size, root)->wait();
  std::optional<ReceivedFile> out;
  if (target) out.emplace(path);
  const auto bytes = size.item<int64_t>();
  for (int64_t begin = 0; begin < bytes; begin += static_cast<int64_t>(kChunk)) {
    at::Tensor chunk = source ? chunk_of(source->bytes(), static_cast<uint64_t>(begin))
                              : at::empty({std::min<int64_t>(kChunk, bytes - begin)}, at::kByte);
    communicator.broadcast(chunk, root)->wait();
    if (out) out->write(chunk);
  }
  if (out) out->finish();
}

void shift_file(const fs::path& sent, const fs::path& received, int distance,
                Communicator& communicator) {
  std::optional<MappedFile> source;
  ReceivedFile out(received);
  out.attempt([&] { source.emplace(sent); });
  const auto own = source ? source->bytes() : std::span<const std::byte>();
  const at::Tensor size = number(own.size());
  at::Tensor incoming = number(0);
  communicator.shift(size, incoming, distance)->wait();
  const auto bytes = incoming.item<int64_t>();
  const int64_t end = std::max(size.item<int64_t>(), bytes);
  const at::Tensor room = at::empty({static_cast<int64_t>(kChunk)}, at::kByte);
  for (int64_t begin = 0; begin < end; begin += static_cast<int64_t>(kChunk)) {
    const int64_t left = std::max<int64_t>(0, bytes - begin);
    at::Tensor chunk = room.narrow(0, 0, std::min<int64_t>(kChunk, left));
    communicator.shift(chunk_of(own, static_cast<uint64_t>(begin)), chunk, distance)->wait();
    out.write(chunk);
  }
  out.finish();
}

}  // namespace kessoku::runtime
