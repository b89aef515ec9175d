#include "runtime/communication/communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/max.h>
#include <ATen/ops/zeros.h>

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "runtime/communication/nccl_communicator.h"

namespace kessoku::runtime {

namespace {

class Done : public Pending {
 public:
  void wait() override {}
  bool done() const override { return true; }
};

/// One rank: sums are what is there already, and parts are wholes.
class SoloCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  std::unique_ptr<Pending> all_reduce(at::Tensor&) override { return std::make_unique<Done>(); }
  std::unique_ptr<Pending> reduce_scatter(const std::vector<at::Tensor>& blocks, at::Tensor& part,
                                          const SummationTree& tree, Wire) override {
    require_blocks(blocks, part, tree);
    std::vector<BlockSum> sums;
    const std::vector<TreeBlock> places = tree.blocks_of(0);
    for (size_t i = 0; i < blocks.size(); ++i) sums.push_back({places[i], blocks[i]});
    sum_blocks(std::move(sums), part);
    return std::make_unique<Done>();
  }
  std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) override {
    return copy(part, whole);
  }
  std::unique_ptr<Pending> broadcast(at::Tensor&, int) override { return std::make_unique<Done>(); }
  std::unique_ptr<Pending> shift(const at::Tensor& sent, at::Tensor& received, int) override {
    received.copy_(sent);
    return std::make_unique<Done>();
  }
  void barrier() override {}

 private:
  static std::unique_ptr<Pending> copy(const at::Tensor& from, at::Tensor& to) {
    if (from.data_ptr() != to.data_ptr()) to.copy_(from);
    return std::make_unique<Done>();
  }
};

}  // namespace

std::unique_ptr<Pending> Communicator::reduce_scatter(const at::Tensor& whole, at::Tensor& part,
                                                      Wire wire) {
  return reduce_scatter({whole}, part, SummationTree::over_ranks(size()), wire);
}

void Communicator::require_parts(const at::Tensor& whole, const at::Tensor& part) const {
  if (!whole.is_contiguous() || !part.is_contiguous())
    throw std::logic_error("collectives take contiguous tensors");
  if (whole.numel() != part.numel() * size() || whole.scalar_type() != part.scalar_type())
    throw std::logic_error("the whole must be size() parts of one type");
}

void Communicator::require_blocks(const std::vector<at::Tensor>& blocks, const at::Tensor& part,
                                  const SummationTree& tree) const {
  if (part.scalar_type() != at::kFloat) throw std::logic_error("reduce-scatter takes f32");
  if (tree.ranks() != size() || tree.blocks_of(rank()).size() != blocks.size())
    throw std::logic_error("reduce-scatter takes the blocks of its tree");
  for (const at::Tensor& block : blocks) require_parts(block, part);
}

/// A sum of parts at each rank, and an all-gather of those.
void Communicator::count_all_reduce(const at::Tensor& tensor) const {
  const int64_t others = size() - 1;
  const int64_t bytes = 2 * static_cast<int64_t>(tensor.nbytes()) * others / size();
  log_->count("all-reduce", {bytes, bytes});
}

void Communicator::count_parts(const std::string& operation, const at::Tensor& part) const {
  const int64_t bytes = static_cast<int64_t>(part.nbytes()) * (size() - 1);
  log_->count(operation, {bytes, bytes});
}

void Communicator::count_broadcast(const at::Tensor& tensor, int root) const {
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  if (rank() == root) {
    log_->count("broadcast", {bytes * (size() - 1), 0});
  } else {
    log_->count("broadcast", {0, bytes});
  }
}

std::string Communicator::broadcast_text(const std::string& text) {
  at::Tensor length = at::empty({1}, at::kLong);
  *length.data_ptr<int64_t>() = static_cast<int64_t>(text.size());
  broadcast(length, 0)->wait();
  // Sent as int64 so that every implementation needs only its numeric types.
  const int64_t bytes = *length.data_ptr<int64_t>();
  at::Tensor words = at::empty({(bytes + 7) / 8}, at::kLong);
  if (rank() == 0) std::memcpy(words.data_ptr(), text.data(), text.size());
  if (words.numel() > 0) broadcast(words, 0)->wait();
  return {static_cast<const char*>(words.data_ptr()), static_cast<size_t>(bytes)};
}

bool Communicator::agrees(bool is_so) {
  at::Tensor count = at::zeros({1}, at::kLong);
  *count.data_ptr<int64_t>() = is_so ? 1 : 0;
  all_reduce(count)->wait();
  return *count.data_ptr<int64_t>() == size();
}

std::vector<std::string> Communicator::all_gather_text(const std::string& text) {
  at::Tensor lengths = at::zeros({size()}, at::kLong);
  lengths[rank()].fill_(static_cast<int64_t>(text.size()));
  all_reduce(lengths)->wait();
  const int64_t longest = lengths.max().item<int64_t>();
  at::Tensor words = at::zeros({size(), (longest + 7) / 8}, at::kLong);
  at::Tensor own = words[rank()];
  std::memcpy(own.data_ptr(), text.data(), text.size());
  if (longest > 0) all_gather(own, words)->wait();
  std::vector<std::string> texts;
  for (int i = 0; i < size(); ++i) {
    texts.emplace_back(static_cast<const char*>(words[i].data_ptr()),
                       static_cast<size_t>(lengths[i].item<int64_t>()));
  }
  return texts;
}

std::unique_ptr<Communicator> make_solo_communicator() {
  return std::make_unique<SoloCommunicator>();
}

std::unique_ptr<Communicator> connect(std::unique_ptr<Communicator> host, at::Device device,
                                      double timeout, Reduction reduction) {
  const std::vector<std::string> kinds =
      host->all_gather_text(c10::DeviceTypeName(device.type(), /*lower_case=*/true));
  for (size_t rank = 1; rank < kinds.size(); ++rank) {
    if (kinds[rank] == kinds[0]) continue;
    throw UsageError(fmt::format(
        "rank {} computes on \"{}\", rank 0 on \"{}\": set train.device, and see nvidia-smi there",
        rank, kinds[rank], kinds[0]));
  }
  if (device.is_cpu() || !under_mpi()) return host;
  return make_nccl_communicator(std::move(host), device, timeout, reduction);
}

bool under_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

std::unique_ptr<Communicator> make_communicator() {
  return under_mpi() ? make_mpi_communicator() : make_solo_communicator();
}

}  // namespace kessoku::runtime
