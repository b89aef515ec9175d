#include "base/random.h"

#include <cmath>
#include <numbers>

namespace kessoku {

RandomStream::RandomStream(uint64_t seed, Purpose purpose, uint64_t index)
    : engine_(mix_bits(mix_bits(seed) ^ static_cast<uint64_t>(purpose)), index, 0) {}

uint32_t RandomStream::next() { return engine_(); }

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
  constexpr float kScale = 0x1.0p-24f;
  for (size_t i = 0; i < out.size(); i += 2) {
    const float radius_source = static_cast<float>((next() >> 8) + 1) * kScale;  // (0, 1]
    const float angle = 2 * std::numbers::pi_v<float> * static_cast<float>(next() >> 8) * kScale;
    const float radius = std::sqrt(-2 * std::log(radius_source));
    out[i] = radius * std::cos(angle);
    if (i + 1 < out.size()) out[i + 1] = radius * std::sin(angle);
  }
}

}  // namespace kessoku
