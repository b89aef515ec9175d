#include "data/store/store_verify.h"

#include <map>
#include <numeric>

#include "base/error.h"
#include "base/parallel.h"
#include "data/store/shard_writer.h"
#include "data/store/store.h"

namespace kessoku::data {

namespace {

constexpr size_t kPiece = 64;  ///< examples between two reports of progress

/// As they lie in the files.
std::vector<size_t> reading_order(const Store& store) {
  std::vector<size_t> order(store.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) {
    const Row& row = store.rows()[i];
    return std::tuple(row.shard, row.bucket, row.row);
  });
  return order;
}

/// Reads all rows of an example; adds their bytes to `bytes`, and what is wrong to `damages`.
void verify_example(const Store& store, size_t example, std::vector<std::byte>& buffer,
                    uint64_t& bytes, std::vector<std::string>& damages) {
  for (const Kind kind : store.manifest().kept) {
    buffer.resize(row_bytes(kind, store.shape(example, kind)));
    for (int64_t v = 0; v < store.variants(); ++v) {
      try {
        store.read(example, kind, v, buffer);
      } catch (const DataError& error) {
        damages.push_back(error.what());
      }
      bytes += buffer.size();
    }
  }
}

}  // namespace

StoreVerification verify_store(const std::filesystem::path& path, int threads,
                               const std::function<void(uint64_t, uint64_t)>& on_progress) {
  StoreVerification found;
  const Store store(path, found.damages);
  const std::vector<size_t> order = reading_order(store);
  std::map<size_t, std::vector<std::string>> damages_by_piece;
  std::mutex mutex;
  parallel_for((order.size() + kPiece - 1) / kPiece, threads, [&](size_t piece) {
    std::vector<std::byte> buffer;
    std::vector<std::string> damages;
    uint64_t bytes = 0;
    const size_t begin = piece * kPiece, end = std::min(order.size(), begin + kPiece);
    for (size_t i = begin; i < end; ++i) verify_example(store, order[i], buffer, bytes, damages);
    const std::lock_guard lock(mutex);
    found.examples += end - begin;
    found.bytes += bytes;
    if (!damages.empty()) damages_by_piece[piece] = std::move(damages);
    if (on_progress) on_progress(found.examples, order.size());
  });
  for (auto& [piece, damages] : damages_by_piece)
    std::ranges::move(damages, std::back_inserter(found.damages));
  return found;
}

}  // namespace kessoku::data
