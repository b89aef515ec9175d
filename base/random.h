#pragma once

#include <cstdint>
#include <span>

#include "base/numeric/philox.h"

namespace kessoku {

/// What a random stream is for. The numbers are part of every run's identity: never reuse or
/// reorder them.
enum class Purpose : uint32_t {
  kNoise = 1,
  kTimestep = 2,
  kVaeSample = 3,
  kCaptionDropout = 4,
  kTagOrder = 5,
  kFlip = 6,
  kVariant = 7,
  kPassOrder = 8,
  kLeafPhase = 9,
  kLeafOrder = 10,
  kInitialWeights = 11,
  kInitialLatents = 12,
  kSolverNoise = 13,
  kValidation = 14,
  kNoiseOffset = 15,
  kPyramidNoise = 16,
  kCrop = 17,
  kBlockOrder = 18,
  kSubstitute = 19,
  kMask = 20,
  kVerification = 21,
};

/// A counter-based stream (Philox) keyed by (seed, purpose, index):
/// the same numbers on every machine, rank and thread, whatever was drawn elsewhere. Not for
/// concurrent use.
class RandomStream {
 public:
  /// `index` is most often the draw's number.
  RandomStream(uint64_t seed, Purpose purpose, uint64_t index);

  uint32_t next();
  uint64_t next64();
  /// Uniform in [0, bound), without bias. Needs bound > 0.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform();
  /// Unit normals (Box-Muller), with the same bits on every processor.
  void fill_normal(std::span<float> out);

 private:
  Philox engine_;
};

/// Mixes 64 bits well (the finalizer of splitmix64).
constexpr uint64_t mix_bits(uint64_t value) {
  value += 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

}  // namespace kessoku
