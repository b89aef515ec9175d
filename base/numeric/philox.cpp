#include "base/numeric/philox.h"

#include "base/numeric/clones.h"

namespace kessoku {

namespace {

constexpr size_t kBlocks = 64;  ///< made at once

constexpr uint32_t low_half(uint64_t value) { return static_cast<uint32_t>(value); }
constexpr uint32_t high_half(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

/// The blocks from `counter` on, one after the other.
template <size_t count>
KESSOKU_INLINE void blocks(uint64_t key, uint64_t subsequence, uint64_t counter, uint32_t* out) {
  std::array<std::array<uint32_t, count>, 4> words;
  for (size_t i = 0; i < count; ++i) {
    words[0][i] = low_half(counter + i);
    words[1][i] = high_half(counter + i);
    words[2][i] = low_half(subsequence);
    words[3][i] = high_half(subsequence);
  }
  uint32_t first_key = low_half(key), second_key = high_half(key);
  for (int round = 0; round < 10; ++round) {
    for (size_t i = 0; i < count; ++i) {
      const uint64_t first = uint64_t{0xD2511F53} * words[0][i];
      const uint64_t second = uint64_t{0xCD9E8D57} * words[2][i];
      words[0][i] = high_half(second) ^ words[1][i] ^ first_key;
      words[1][i] = low_half(second);
      words[2][i] = high_half(first) ^ words[3][i] ^ second_key;
      words[3][i] = low_half(first);
    }
    first_key += 0x9E3779B9;
    second_key += 0xBB67AE85;
  }
  for (size_t i = 0; i < count; ++i) {
    for (size_t word = 0; word < 4; ++word) out[4 * i + word] = words[word][i];
  }
}

KESSOKU_CLONES void many_blocks(uint64_t key, uint64_t subsequence, uint64_t counter,
                                uint32_t* out) {
  blocks<kBlocks>(key, subsequence, counter, out);
}

}  // namespace

uint32_t Philox::next() {
  if (used_ == block_.size()) {
    blocks<1>(key_, subsequence_, counter_++, block_.data());
    used_ = 0;
  }
  return block_[used_++];
}

void Philox::fill(std::span<uint32_t> out) {
  size_t done = 0;
  while (done < out.size() && used_ < block_.size()) out[done++] = next();
  for (; out.size() - done >= 4 * kBlocks; done += 4 * kBlocks, counter_ += kBlocks)
    many_blocks(key_, subsequence_, counter_, out.data() + done);
  while (done < out.size()) out[done++] = next();
}

}  // namespace kessoku
