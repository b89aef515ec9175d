#include "base/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <immintrin.h>
#include <xxh_x86dispatch.h>  // the same sums by the widest instructions that the processor has
#endif

namespace kessoku {

namespace {

// xxHash returns with the upper halves of the vector registers in use. Until they are cleared, each
// older instruction of this thread waits for them: unit normals took eleven times as long.
#if defined(__x86_64__)
__attribute__((target("avx"))) void clear_upper_halves() { _mm256_zeroupper(); }
void release_wide_registers() {
  if (__builtin_cpu_supports("avx")) clear_upper_halves();
}
#else
void release_wide_registers() {}
#endif

}  // namespace

uint64_t checksum(std::span<const std::byte> bytes) {
  const uint64_t sum = XXH3_64bits(bytes.data(), bytes.size());
  release_wide_registers();
  return sum;
}

Checksummer::Checksummer() : state_(XXH3_createState()) {
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}

Checksummer::~Checksummer() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void Checksummer::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
  release_wide_registers();
}

void Checksummer::add(const std::string& text) { add(std::as_bytes(std::span(text))); }

uint64_t Checksummer::value() const {
  const uint64_t sum = XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
  release_wide_registers();
  return sum;
}

std::string to_hex(uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace kessoku
