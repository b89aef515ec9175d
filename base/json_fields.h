#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace kessoku {

/// What our configs say wrote them. Below 0.9 diffusers takes the sample_size of small UNets for a
/// mistake and makes it 64.
constexpr const char* kDiffusersVersion = "0.30.0";

/// Reads the fields of a config.json with checks: a wrong type or an unsupported value is a
/// DataError that names file and key. A field that is not there keeps its default; unknown fields
/// are ignored, for every tool adds some.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& json, std::string where);

  /// A whole number in `min`…`max`; `min` is 0 or 1.
  void read(const char* key, int64_t& value, int64_t max = int64_t{1} << 24, int64_t min = 1) const;
  void read(const char* key, double& value) const;
  void read(const char* key, bool& value) const;
  void read(const char* key, std::optional<bool>& value) const;
  void read(const char* key, std::string& value) const;
  /// One number or a list of at most 16.
  void read(const char* key, std::vector<int64_t>& value) const;
  void read(const char* key, std::vector<std::string>& value) const;
  /// Height and width; one number means both.
  void read_size(const char* key, std::array<int64_t, 2>& value) const;
  bool is_null(const char* key) const;
  /// The field must be absent, null or one of `supported`.
  void require(const char* key, const std::vector<nlohmann::json>& supported) const;
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;

 private:
  /// nullptr if absent or null.
  const nlohmann::json* find(const char* key) const;
  const nlohmann::json& json_;
  std::string where_;
};

/// As read_size reads it: a number if height and width are the same.
nlohmann::json size_to_json(const std::array<int64_t, 2>& size);

/// `text` for an error message: in quotes, on one line, shortened.
std::string in_quotes(std::string_view text);

/// Parses a JSON object file. Throws UsageError if it is not there, DataError if it is none.
nlohmann::json read_json_file(const std::string& path, uint64_t max_bytes = 16u << 20);

}  // namespace kessoku
