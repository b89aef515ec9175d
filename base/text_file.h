#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace kessoku {

/// Whether `bytes` are well-formed UTF-8 (no surrogates, no overlong forms).
bool is_utf8(std::string_view bytes);

/// `bytes` if they are UTF-8, else what they most likely mean (as decode_text): for names of files
/// and arguments, which may hold any bytes, where they become text. Never fails.
std::string to_utf8(std::string_view bytes);

/// A text that somebody else wrote, as UTF-8.
struct Text {
  std::string text;     ///< without byte order marks and NUL; lines end with "\n"
  std::string warning;  ///< what had to be guessed or left out; empty if nothing
};

/// Reads UTF-8 and UTF-16 with or without a mark (UTF-16 without one only where nothing else makes
/// sense), lines that end as on Windows or old Macs. Else, with a warning: UTF-8 without the bytes
/// that do not belong into it, if there are few, or Windows-1252. Never fails.
Text decode_text(std::string_view bytes);

/// A text file for people. Throws UsageError if it is not there, DataError if it is larger than
/// `max_bytes`.
Text read_text_file(const std::filesystem::path& path, uint64_t max_bytes);

/// The text of a file whose format asks for UTF-8 (JSON, TOML, lists of hosts or sizes). Errors as
/// read_text_file, and DataError if anything would have to be guessed.
std::string read_utf8_file(const std::filesystem::path& path, uint64_t max_bytes = 64u << 20);

}  // namespace kessoku
