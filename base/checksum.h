#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kessoku {

/// XXH3, 64 bits, of `bytes`.
uint64_t checksum(std::span<const std::byte> bytes);

/// XXH3 over several pieces, as if they stood one after another.
class Checksummer {
 public:
  Checksummer();
  Checksummer(const Checksummer&) = delete;
  Checksummer& operator=(const Checksummer&) = delete;
  ~Checksummer();
  void add(std::span<const std::byte> bytes);
  void add(const std::string& text);
  uint64_t value() const;

 private:
  void* state_;
};

/// 16 lower-case hexadecimal digits.
std::string to_hex(uint64_t value);

}  // namespace kessoku
