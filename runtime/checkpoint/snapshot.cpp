#include "runtime/checkpoint/snapshot.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/empty.h>
#include <sys/mman.h>

#include <cstring>

namespace kessoku::runtime {

namespace {

/// A tensor of the optimizer's state as far as this rank writes it, in pieces.
struct Source {
  std::string name;
  std::vector<at::Tensor> pieces;
  int64_t numel = 0;

  /// Pieces that lie side by side become one.
  void add(const at::Tensor& piece) {
    numel += piece.numel();
    if (!pieces.empty()) {
      at::Tensor& last = pieces.back();
      const int64_t end = last.storage_offset() + last.numel();
      if (last.is_alias_of(piece) && end == piece.storage_offset()) {
        last = last.as_strided({last.numel() + piece.numel()}, {1}, last.storage_offset());
        return;
      }
    }
    pieces.push_back(piece);
  }
};

std::vector<Source> sources_of(Trainer& trainer) {
  const TrainerState state = trainer.state();
  std::vector<Source> sources;
  for (const model::Parameter& moment : state.moments) sources.push_back({moment.name});
  sources.push_back({"parameters"});
  if (state.ema.defined()) sources.push_back({"ema"});
  const std::vector<Range> ranges = trainer.written_ranges();
  int64_t before = 0;  // of what is owned
  for (size_t i = 0; i < ranges.size(); ++i) {
    // Without sharding a rank owns more than it writes.
    const int64_t skipped = ranges[i].begin - state.owned[i].begin, size = ranges[i].size();
    const int64_t begin = before + skipped;
    auto source = sources.begin();
    for (const model::Parameter& moment : state.moments)
      (source++)->add(moment.tensor.narrow(0, begin, size));
    (source++)->add(state.weights[i].narrow(0, skipped, size));
    if (state.ema.defined()) source->add(state.ema.narrow(0, begin, size));
    before += state.owned[i].size();
  }
  return sources;
}

/// Memory in large pages, which become the process's sooner; page-locked if it is to take what is
/// on a GPU.
at::Tensor make_room(at::IntArrayRef sizes, at::ScalarType dtype, at::Device source) {
  constexpr uintptr_t kLarge = uintptr_t{2} << 20;
  const at::Tensor room =
      at::empty(sizes, at::TensorOptions(dtype).pinned_memory(source.is_cuda()));
  const auto address = reinterpret_cast<uintptr_t>(room.mutable_data_ptr());
  const uintptr_t begin = (address + kLarge - 1) / kLarge * kLarge, end = address + room.nbytes();
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  return room;
}

/// memcpy writes past the processor's cache, `copy_` through it: that is half as much again of what
/// memory can carry.
void copy(const at::Tensor& to, const at::Tensor& from) {
  if (to.scalar_type() != from.scalar_type() || !from.is_cpu() || !from.is_contiguous()) {
    to.copy_(from);
    return;
  }
  auto* target = static_cast<std::byte*>(to.mutable_data_ptr());
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  at::parallel_for(0, static_cast<int64_t>(to.nbytes()), int64_t{1} << 22,
                   [&](int64_t begin, int64_t end) {
                     std::memcpy(target + begin, source + begin, static_cast<size_t>(end - begin));
                   });
}

}  // namespace

void Snapshot::note(Trainer& trainer) {
  const TrainerState state = trainer.state();
  step_ = state.steps;
  optimizer_steps_ = state.optimizer_steps;
  scaler_ = state.scaler;
  ranges_ = trainer.written_ranges();
  state_.clear();
  weights_.clear();
}

void Snapshot::reserve(Trainer& trainer) {
  for (const Source& source : sources_of(trainer))
    held_["state." + source.name] =
        make_room({source.numel}, at::kFloat, trainer.flat().values().device());
  reserve_weights(trainer);
}

void Snapshot::reserve_weights(Trainer& trainer) {
  for (const model::Parameter& parameter : trainer.flat().parameters()) {
    if (names_.contains(parameter.name))
      held_["weights." + parameter.name] =
          make_room(parameter.tensor.sizes(), dtype_, parameter.tensor.device());
  }
}

void Snapshot::touch() const {
  constexpr size_t kPage = 4096;
  for (const auto& [name, room] : held_) {
    auto* bytes = static_cast<volatile char*>(room.mutable_data_ptr());
    for (size_t i = 0; i < room.nbytes(); i += kPage) bytes[i] = 0;
  }
}

void Snapshot::take(Trainer& trainer) {
  const at::NoGradGuard no_grad;
  note(trainer);
  for (const Source& source : sources_of(trainer)) {
    const at::Tensor& room = held_.at("state." + source.name);
    int64_t begin = 0;
    for (const at::Tensor& piece : source.pieces) {
      copy(room.narrow(0, begin, piece.numel()), piece);
      begin += piece.numel();
    }
    state_.push_back({source.name, at::kFloat, {source.numel}, [room] { return room; }, {}});
  }
  copy_weights(trainer);
}

void Snapshot::copy_weights(Trainer& trainer) {
  std::vector<const FlatRange*> places;
  for (const FlatRange& place : trainer.flat().ranges()) {
    if (!names_.contains(place.name)) continue;
    places.push_back(&place);
    weights_.push_back({place.name, held_.at("weights." + place.name)});
  }
  trainer.visit_published([&](const Range& range, const at::Tensor& values) {
    for (size_t i = 0; i < places.size(); ++i) {
      const FlatRange& place = *places[i];
      const int64_t begin = std::max(range.begin, place.offset);
      const int64_t end = std::min(range.end, place.offset + place.numel);
      if (begin >= end) continue;
      copy(weights_[i].tensor.view({-1}).narrow(0, begin - place.offset, end - begin),
           values.narrow(0, begin - range.begin, end - begin));
    }
  });
}

void Snapshot::borrow(Trainer& trainer) {
  const at::NoGradGuard no_grad;
  note(trainer);
  for (const Source& source : sources_of(trainer)) {
    state_.push_back({source.name, at::kFloat, {source.numel}, {}, {}, source.pieces});
  }
  if (names_.empty()) return;
  if (!trainer.publishes_own()) {
    if (!has_room()) reserve_weights(trainer);
    return copy_weights(trainer);
  }
  trainer.finish_step();
  for (const model::Parameter& parameter : trainer.flat().views_of(trainer.flat().values())) {
    if (names_.contains(parameter.name)) weights_.push_back(parameter);
  }
}

void Snapshot::release() {
  state_.clear();
  weights_.clear();
}

uint64_t Snapshot::bytes(Trainer& trainer) const {
  uint64_t bytes = 0;
  for (const Source& source : sources_of(trainer))
    bytes += static_cast<uint64_t>(source.numel) * sizeof(float);
  for (const FlatRange& place : trainer.flat().ranges()) {
    if (names_.contains(place.name))
      bytes += static_cast<uint64_t>(place.numel) * c10::elementSize(dtype_);
  }
  return bytes;
}

}  // namespace kessoku::runtime
