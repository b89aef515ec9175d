#include "runtime/run/rank_agreement.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/process/process.h"

namespace kessoku::runtime {

namespace {

uint64_t checksum_of(const std::string& text) { return checksum(std::as_bytes(std::span(text))); }

uint64_t checksum_of(const at::Tensor& values) {
  const at::Tensor bytes = values.cpu();
  return checksum({static_cast<const std::byte*>(bytes.const_data_ptr()), bytes.nbytes()});
}

}  // namespace

void require_agreement(const std::vector<SharedThing>& things, Communicator& communicator) {
  const int ranks = communicator.size();
  const auto count = static_cast<int64_t>(things.size());
  at::Tensor digests = at::zeros({ranks, count}, at::kLong);
  at::Tensor own = digests[communicator.rank()];
  for (int64_t i = 0; i < count; ++i)
    own.data_ptr<int64_t>()[i] = static_cast<int64_t>(things[static_cast<size_t>(i)].digest);
  communicator.all_gather(own, digests)->wait();
  const std::vector<std::string> hosts = communicator.all_gather_text(host_name());
  for (int rank = 1; rank < ranks; ++rank) {
    for (int64_t i = 0; i < count; ++i) {
      if (digests[rank][i].item<int64_t>() == digests[0][i].item<int64_t>()) continue;
      throw UsageError(fmt::format(
          "rank {} on {} has not the same as rank 0 on {}: {} differs; all hosts must read the "
          "same files",
          rank, hosts[static_cast<size_t>(rank)], hosts[0], things[static_cast<size_t>(i)].name));
    }
  }
}

void require_same_start(const RunConfig& config, const RunFolder& folder, const data::Store& store,
                        const FlatParameters& weights, Communicator& communicator) {
  if (communicator.size() == 1) return;
  const std::string start = folder.resume_from.value_or("").filename().string();
  require_agreement({{"the program", checksum(MappedFile("/proc/self/exe").bytes())},
                     {"the run file or --set", checksum_of(to_toml(config))},
                     {"the store " + config.data.store, checksum_of(store.digest())},
                     {"the checkpoint to go on from", checksum_of(start)},
                     {"the model's weights", checksum_of(weights.values())}},
                    communicator);
}

}  // namespace kessoku::runtime
