#include "model/weights/safetensors_header.h"

#include <c10/core/ScalarType.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace kessoku::model {

using nlohmann::json;

namespace {

constexpr std::array<std::pair<const char*, at::ScalarType>, 15> kDtypes{
    {{"F64", at::kDouble},
     {"F32", at::kFloat},
     {"F16", at::kHalf},
     {"BF16", at::kBFloat16},
     {"I64", at::kLong},
     {"I32", at::kInt},
     {"I16", at::kShort},
     {"I8", at::kChar},
     {"U64", at::kUInt64},
     {"U32", at::kUInt32},
     {"U16", at::kUInt16},
     {"U8", at::kByte},
     {"BOOL", at::kBool},
     {"F8_E4M3", at::kFloat8_e4m3fn},
     {"F8_E5M2", at::kFloat8_e5m2}}};

/// Event-driven, so that duplicate keys are seen and nothing but the entries is kept in memory.
/// Depth 1 holds the tensors' names, depth 2 an entry's (or the metadata's) keys, depth 3 the
/// lists; what is deeper or unknown is skipped.
class HeaderBuilder : public nlohmann::json_sax<json> {
 public:
  HeaderBuilder(SafetensorsHeader& header, const std::string& where)
      : header_(header), where_(where) {}

  bool key(std::string& name) override {
    if (depth_ == 1) {
      if (!tensor_names_.insert(name).second) fail(name, "appears twice");
      name_ = name;
      fields_.clear();
    } else if (depth_ == 2) {
      if (!fields_.insert(name).second) fail(name_, fmt::format("has \"{}\" twice", name));
      field_ = name;
    }
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ == 1 && !in_metadata()) header_.entries.emplace(name_, WeightEntry{});
    if (depth_ == 2 && (in_metadata() || is_ours())) fail(name_, "a field is an object");
    ++depth_;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1 && !in_metadata()) finish_entry();
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ == 0) fail("", "the header is not a JSON object");
    if (depth_ == 1) fail(name_, "is not a JSON object");
    if (depth_ == 2) {
      if (in_metadata() || field_ == "dtype")
        fail(name_, fmt::format("\"{}\" is not a string", field_));
      numbers_.clear();
    } else if (depth_ == 3 && is_ours()) {
      fail(name_, fmt::format("\"{}\" holds a list", field_));
    }
    ++depth_;
    return true;
  }
  bool end_array() override {
    if (--depth_ != 2 || in_metadata()) return true;
    if (field_ == "shape") header_.entries[name_].shape = numbers_;
    if (field_ == "data_offsets") {
      if (numbers_.size() != 2) fail(name_, "\"data_offsets\" must be two numbers");
      header_.entries[name_].begin = static_cast<size_t>(numbers_[0]);
      header_.entries[name_].end = static_cast<size_t>(numbers_[1]);
    }
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata()) {
      header_.metadata[field_] = value;
      return true;
    }
    if (depth_ == 2 && field_ == "dtype") {
      header_.entries[name_].dtype = parse_dtype(value);
      return true;
    }
    return other();
  }
  bool number_unsigned(uint64_t value) override {
    if (depth_ != 3 || !is_ours()) return other();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      fail(name_, fmt::format("\"{}\" holds a number that is too large", field_));
    }
    numbers_.push_back(static_cast<int64_t>(value));
    return true;
  }
  bool number_integer(int64_t) override { return other(); }
  bool number_float(double, const std::string&) override { return other(); }
  bool boolean(bool) override { return other(); }
  bool null() override { return other(); }
  bool binary(json::binary_t&) override { return other(); }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    throw DataError(fmt::format("{}: the header is not valid JSON (byte {})", where_, position));
  }

 private:
  bool in_metadata() const { return name_ == "__metadata__"; }
  bool is_ours() const {
    return !in_metadata() && (field_ == "dtype" || field_ == "shape" || field_ == "data_offsets");
  }
  /// A value that is none of ours: fine only in a field that we do not know.
  bool other() const {
    if (depth_ == 0) fail("", "the header is not a JSON object");
    if (depth_ == 1) fail(name_, "is not a JSON object");
    if (in_metadata() || is_ours())
      fail(name_, fmt::format("\"{}\" has a value of a wrong kind", field_));
    return true;
  }
  void finish_entry() const {
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (!fields_.contains(field)) fail(name_, fmt::format("\"{}\" is missing", field));
    }
  }
  at::ScalarType parse_dtype(const std::string& name) const {
    for (const auto& [known, type] : kDtypes) {
      if (name == known) return type;
    }
    fail(name_, fmt::format("dtype \"{}\" is not supported", name.substr(0, 40)));
  }
  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    throw DataError(tensor.empty() ? fmt::format("{}: {}", where_, problem)
                                   : fmt::format("{}: tensor \"{}\" {}", where_,
                                                 tensor.substr(0, 200), problem));
  }

  SafetensorsHeader& header_;
  const std::string& where_;
  int depth_ = 0;
  std::string name_, field_;
  std::set<std::string> tensor_names_, fields_;
  std::vector<int64_t> numbers_;
};

/// Elements times their size; throws if that is no 63-bit number or not what the offsets say.
void check_size(const std::string& name, const WeightEntry& entry, const std::string& where) {
  const std::optional<size_t> bytes = byte_count(entry.dtype, entry.shape);
  if (!bytes || entry.end < entry.begin || entry.end - entry.begin != *bytes) {
    throw DataError(fmt::format(
        "{}: tensor \"{}\" of {} [{}] does not fit its data_offsets [{}, {}]", where, name,
        safetensors_dtype(entry.dtype), fmt::join(entry.shape, ", "), entry.begin, entry.end));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, size_t data_bytes,
                                           const std::string& where) {
  SafetensorsHeader header;
  HeaderBuilder builder(header, where);
  json::sax_parse(text.begin(), text.end(), &builder);

  std::vector<std::pair<const std::string*, const WeightEntry*>> ordered;
  for (const auto& [name, entry] : header.entries) {
    check_size(name, entry, where);
    ordered.emplace_back(&name, &entry);
  }
  std::ranges::sort(ordered, [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  size_t covered = 0;
  for (const auto& [name, entry] : ordered) {
    if (entry->begin != covered) {
      throw DataError(fmt::format(
          "{}: tensor \"{}\" begins at {}, {} at {}: the file is damaged", where, *name,
          entry->begin,
          entry->begin < covered ? "but another one ends" : "but nothing lies before it from",
          covered));
    }
    covered = entry->end;
  }
  if (covered != data_bytes) {
    throw DataError(fmt::format(
        "{}: the tensors need {} bytes, but the file holds {}: {}", where, covered, data_bytes,
        covered > data_bytes ? "it is truncated" : "something follows them"));
  }
  return header;
}

std::string safetensors_dtype(at::ScalarType dtype) {
  for (const auto& [name, type] : kDtypes) {
    if (dtype == type) return name;
  }
  throw DataError(
      fmt::format("a .safetensors file cannot hold tensors of {}", c10::toString(dtype)));
}

}  // namespace kessoku::model
