#include "base/random.h"

#include <algorithm>
#include <array>

#include "base/numeric/portable_math.h"

namespace kessoku {

RandomStream::RandomStream(uint64_t seed, Purpose purpose, uint64_t index)
    : engine_(mix_bits(mix_bits(seed) ^ static_cast<uint64_t>(purpose)), index) {}

uint32_t RandomStream::next() { return engine_.next(); }

uint64_t RandomStream::next64() {
  const uint64_t high = next();
  return high << 32 | next();
}

uint64_t RandomStream::below(uint64_t bound) {
  // Rejects the few values that would favor small results.
  const uint64_t unfair = (0 - bound) % bound;
  uint64_t value = next64();
  while (value < unfair) value = next64();
  return value % bound;
}

double RandomStream::uniform() { return static_cast<double>(next64() >> 11) * 0x1.0p-53; }

void RandomStream::fill_normal(std::span<float> out) {
  constexpr size_t kMany = 1024;
  std::array<uint32_t, kMany> words;
  std::array<float, 2> last;
  for (size_t done = 0; done < out.size();) {
    const size_t count = std::min(kMany, out.size() - done), even = count + count % 2;
    const std::span some = std::span(words).first(even);
    engine_.fill(some);
    make_normals(some.first(count - count % 2), out.subspan(done, count - count % 2));
    if (count % 2 != 0) {
      make_normals(some.last(2), last);
      out.back() = last[0];
    }
    done += count;
  }
}

}  // namespace kessoku
