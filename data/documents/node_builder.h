#pragma once

#include <map>

#include "data/documents/node.h"

namespace kessoku::data {

/// Makes a Value out of what a YAML or JSON parser meets, and bounds it: depth, and memory (aliases
/// included). Throws DataError naming file and line.
class DocumentBuilder {
 public:
  /// With `on_entry`, the root's entries are given away instead of being kept.
  explicit DocumentBuilder(std::string file, OnEntry on_entry = {})
      : file_(std::move(file)), on_entry_(std::move(on_entry)) {}

  /// If set, what the root must be.
  void expect(Value::Kind root) { expected_ = root; }
  void scalar(uint64_t line, std::string text, bool plain, const std::string& anchor = {});
  void begin(uint64_t line, Value::Kind kind, const std::string& anchor = {});
  void end();
  void alias(uint64_t line, const std::string& anchor);
  Value take() { return std::move(root_); }
  [[noreturn]] void fail(uint64_t line, const std::string& problem) const;

 private:
  struct Open {
    Value value;
    std::string anchor;
    size_t bytes = 0;  ///< of what it holds
    bool has_key = false;
  };
  struct Anchored {
    Value value;
    size_t bytes;
  };

  void add(Value value, size_t bytes, const std::string& anchor);
  void spend(uint64_t line, size_t bytes);
  void check_root(const Value& value) const;

  std::string file_;
  OnEntry on_entry_;
  std::optional<Value::Kind> expected_;
  std::vector<Open> open_;
  std::map<std::string, Anchored> anchors_;
  size_t spent_ = 0;
  Value root_{.plain = true};
};

}  // namespace kessoku::data
