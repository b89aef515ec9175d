#include "data/documents/node_builder.h"

#include <fmt/format.h>

#include "base/error.h"

namespace kessoku::data {

namespace {

constexpr size_t kDeepest = 32;
constexpr size_t kMostBytes = size_t{64}
                              << 20;  ///< of a document, or of an entry that is given away

/// What the maps under "<<" say holds where the map itself says nothing, as in YAML 1.1.
void merge_maps(Value& map) {
  const Value* found = map.find("<<");
  if (found == nullptr || found->kind == Value::Kind::kScalar) return;
  std::vector<Value> sources;
  if (found->kind == Value::Kind::kMap) {
    sources.push_back(*found);
  } else {
    sources.assign(found->items.rbegin(), found->items.rend());  // the first one wins
  }
  Value merged{.kind = Value::Kind::kMap, .line = map.line};
  const auto take = [&](Value& source) {
    for (size_t i = 0; i < source.keys.size(); ++i) {
      if (source.keys[i] == "<<") continue;
      merged.keys.push_back(std::move(source.keys[i]));
      merged.items.push_back(std::move(source.items[i]));
    }
  };
  for (Value& source : sources) take(source);
  take(map);
  map = std::move(merged);
}

}  // namespace

void DocumentBuilder::fail(uint64_t line, const std::string& problem) const {
  throw DataError(fmt::format("{}:{}: {}", file_, line, problem));
}

void DocumentBuilder::spend(uint64_t line, size_t bytes) {
  if (bytes > kMostBytes - spent_) {
    fail(line, fmt::format("holds more than {} MiB, aliases included", kMostBytes >> 20));
  }
  spent_ += bytes;
}

void DocumentBuilder::check_root(const Value& value) const {
  if (!open_.empty() || !expected_ || value.kind == *expected_) return;
  fail(value.line, *expected_ == Value::Kind::kList ? "not a list, [...]" : "not a map, {...}");
}

void DocumentBuilder::scalar(uint64_t line, std::string text, bool plain,
                             const std::string& anchor) {
  if (!open_.empty() && open_.back().value.kind == Value::Kind::kMap && !open_.back().has_key) {
    spend(line, sizeof(std::string) + text.size());
    open_.back().bytes += sizeof(std::string) + text.size();
    open_.back().value.keys.push_back(std::move(text));
    open_.back().has_key = true;
    return;
  }
  const size_t bytes = sizeof(Value) + text.size();
  spend(line, bytes);
  Value value{.plain = plain, .line = line, .text = std::move(text)};
  check_root(value);
  add(std::move(value), bytes, anchor);
}

void DocumentBuilder::begin(uint64_t line, Value::Kind kind, const std::string& anchor) {
  if (open_.size() == kDeepest) fail(line, fmt::format("nested deeper than {}", kDeepest));
  if (!open_.empty() && open_.back().value.kind == Value::Kind::kMap && !open_.back().has_key) {
    fail(line, "a list or map cannot be a key");
  }
  spend(line, sizeof(Value));
  Open open{.value = {.kind = kind, .line = line}, .anchor = anchor, .bytes = sizeof(Value)};
  check_root(open.value);
  open_.push_back(std::move(open));
}

void DocumentBuilder::end() {
  Open open = std::move(open_.back());
  open_.pop_back();
  if (open.value.kind == Value::Kind::kMap) {
    const size_t bytes = open.bytes;
    if (open.value.find("<<") != nullptr) spend(open.value.line, bytes);
    merge_maps(open.value);
  }
  add(std::move(open.value), open.bytes, open.anchor);
}

void DocumentBuilder::alias(uint64_t line, const std::string& anchor) {
  const auto found = anchors_.find(anchor);
  if (found == anchors_.end())
    fail(line, fmt::format("alias *{}: there is no such anchor", anchor));
  if (!open_.empty() && open_.back().value.kind == Value::Kind::kMap && !open_.back().has_key) {
    if (found->second.value.kind != Value::Kind::kScalar)
      fail(line, "a list or map cannot be a key");
    return scalar(line, found->second.value.text, false);
  }
  spend(line, found->second.bytes);
  add(found->second.value, found->second.bytes, {});
}

void DocumentBuilder::add(Value value, size_t bytes, const std::string& anchor) {
  if (!anchor.empty()) {
    spend(value.line, bytes);
    anchors_.insert_or_assign(anchor, Anchored{value, bytes});
  }
  if (open_.empty()) {
    root_ = std::move(value);
    return;
  }
  Open& parent = open_.back();
  parent.has_key = false;
  if (on_entry_ && open_.size() == 1) {
    const std::string key = parent.value.keys.empty() ? "" : parent.value.keys.back();
    parent.value.keys.clear();
    on_entry_(key, value);
    spent_ = 0;
    return;
  }
  parent.bytes += bytes;
  parent.value.items.push_back(std::move(value));
}

}  // namespace kessoku::data
