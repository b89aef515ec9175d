#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kessoku::data {

/// A value in a YAML or JSON file: a scalar, a list or a map.
struct Value {
  enum class Kind { kScalar, kList, kMap };
  Kind kind = Kind::kScalar;
  bool plain = false;  ///< a scalar without quotes: may mean a number, a truth value or nothing
  uint64_t line = 1;   ///< where it begins
  std::string text{};  ///< of a scalar, as written
  std::vector<Value> items{};       ///< of a list or map
  std::vector<std::string> keys{};  ///< of a map, in the order of `items`

  bool is_null() const;
  /// The map's value of that key, the last if there are several; null if there is none.
  const Value* find(std::string_view key) const;
};

/// A value, or another one below it, of a file. What the accessors throw (DataError) begins with
/// "FILE:LINE: ".
struct Located {
  const std::string& file;
  const Value& value;

  [[noreturn]] void fail(const std::string& problem) const;
  /// `name` is how a message calls the value, e.g. "multiply".
  std::string text(const char* name) const;
  double number(const char* name, double least, double most) const;
  bool truth(const char* name) const;
};

/// A number with nothing else about it, or nothing. Never infinite.
std::optional<double> parse_number(std::string_view text);

/// Is told what had to be guessed about a file's text, see base/text_file.h.
using OnTextWarning = std::function<void(const std::string&)>;

/// A whole YAML 1.1 document; an empty file is a null scalar. Aliases are copies and `<<` merges,
/// within a bound on what all comes to, so that no file swells. Tags of programs are refused.
/// Throws DataError naming file and line.
Value read_yaml(const std::filesystem::path& path, const OnTextWarning& warn = {});

/// A whole JSON document. Throws DataError naming file and line.
Value read_json(const std::filesystem::path& path, const OnTextWarning& warn = {});

/// Gives the entries of the list or map (`root`) that the file holds, one by one; `key` is empty in
/// a list. So memory holds one entry beside the file. Throws DataError naming file and line.
using OnEntry = std::function<void(const std::string& key, const Value& entry)>;
void read_json_entries(const std::filesystem::path& path, Value::Kind root, const OnEntry& on_entry,
                       const OnTextWarning& warn = {});

/// The text of such a file, at most so many bytes.
std::string read_document_text(const std::filesystem::path& path, uint64_t max_bytes,
                               const OnTextWarning& warn);

/// The same of a text of JSON that begins at `line` of `file`, for formats with a document a line.
Value parse_json(const std::string& file, std::string_view text, uint64_t line);

}  // namespace kessoku::data
