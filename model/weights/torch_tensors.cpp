#include "model/weights/torch_tensors.h"

#include <c10/core/ScalarType.h>

#include <array>
#include <map>

#include "base/error.h"

namespace kessoku::model {

namespace {

constexpr size_t kMaxDims = 8;
constexpr int kMostNested = 4;     // dictionaries around that of the weights
constexpr size_t kMaxName = 1000;  // a long text may be shared by many tensors
constexpr size_t kMaxMetadata = 64, kMaxMetadataText = 1 << 20;

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 14> kStorages{
    {{"torch.DoubleStorage", at::kDouble},
     {"torch.FloatStorage", at::kFloat},
     {"torch.HalfStorage", at::kHalf},
     {"torch.BFloat16Storage", at::kBFloat16},
     {"torch.LongStorage", at::kLong},
     {"torch.IntStorage", at::kInt},
     {"torch.ShortStorage", at::kShort},
     {"torch.CharStorage", at::kChar},
     {"torch.ByteStorage", at::kByte},
     {"torch.BoolStorage", at::kBool},
     {"torch.ComplexFloatStorage", at::kComplexFloat},
     {"torch.ComplexDoubleStorage", at::kComplexDouble},
     {"torch.storage.UntypedStorage", at::ScalarType::Undefined},
     {"torch.UntypedStorage", at::ScalarType::Undefined}}};

/// What _rebuild_tensor_v3 is for: types that have no storage class of their own.
constexpr std::array<std::pair<std::string_view, at::ScalarType>, 5> kNewTypes{
    {{"torch.float8_e4m3fn", at::kFloat8_e4m3fn},
     {"torch.float8_e5m2", at::kFloat8_e5m2},
     {"torch.uint16", at::kUInt16},
     {"torch.uint32", at::kUInt32},
     {"torch.uint64", at::kUInt64}}};

template <size_t N>
std::optional<at::ScalarType> find_type(
    const std::array<std::pair<std::string_view, at::ScalarType>, N>& types,
    const std::string& name) {
  for (const auto& [known, type] : types) {
    if (known == name) return type;
  }
  return std::nullopt;
}

/// The arguments of an object that the named function would have made.
const std::vector<PickleId>& arguments_of(const Pickle& pickle, const PickleNode& object) {
  return pickle[object.items[1]].items;
}

/// Walks the dictionary of tensors.
class Collector {
 public:
  Collector(const Pickle& pickle, const FindStorage& find, const std::string& where)
      : pickle_(pickle), find_(find), where_(where) {}

  WeightTable collect() {
    std::vector<PickleId> items = dictionary(pickle_.root);
    if (items.empty()) fail_root();
    for (int depth = 0; depth < kMostNested; ++depth) {
      const auto nested = find_state_dict(items);
      if (!nested) break;
      add_metadata(items);
      items = *nested;
    }
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      const PickleNode& key = pickle_[items[i]];
      if (key.kind == PickleKind::kText) add_tensor(key.text, items[i + 1]);
    }
    add_metadata(items);
    return std::move(table_);
  }

 private:
  [[noreturn]] void fail_root() const {
    const PickleNode& root = pickle_[pickle_.root];
    std::string what = "no dictionary of tensors";
    if (root.kind == PickleKind::kObject) {
      const std::string made_by = pickle_.global_name(root.items[0]);
      what = fmt::format("a Python object{}, not a dictionary of tensors; save its state_dict()",
                         made_by.empty() ? "" : fmt::format(" ({})", made_by));
    }
    throw DataError(fmt::format("{}: holds {}", where_, what));
  }

  /// Keys and values in turn; empty if `id` is no dictionary.
  std::vector<PickleId> dictionary(PickleId id) const {
    const PickleNode& node = pickle_[id];
    if (node.kind == PickleKind::kDict) return node.items;
    if (node.kind != PickleKind::kObject ||
        pickle_.global_name(node.items[0]) != "collections.OrderedDict") {
      return {};
    }
    std::vector<PickleId> items;
    const std::vector<PickleId>& arguments = arguments_of(pickle_, node);
    if (arguments.size() == 1) {  // Python 2: [[key, value], …]
      for (const PickleId pair : pickle_[arguments[0]].items) {
        const std::vector<PickleId>& both = pickle_[pair].items;
        if (both.size() == 2) items.insert(items.end(), both.begin(), both.end());
      }
    }
    items.insert(items.end(), node.items.begin() + 2, node.items.end());
    return items;
  }

  bool is_tensor(PickleId id) const {
    if (pickle_[id].kind != PickleKind::kObject) return false;
    const std::string made_by = pickle_.global_name(pickle_[id].items[0]);
    return made_by.starts_with("torch._utils._rebuild_") ||
           made_by == "torch._tensor._rebuild_from_type_v2";
  }

  /// The dictionary that holds the weights, under the first of the names that trainers give it;
  /// beside tensors only "state_dict" counts.
  std::optional<std::vector<PickleId>> find_state_dict(const std::vector<PickleId>& items) const {
    std::map<std::string_view, PickleId> dictionaries;
    bool tensors = false;
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      const PickleNode& key = pickle_[items[i]];
      if (key.kind == PickleKind::kText && !dictionary(items[i + 1]).empty())
        dictionaries[key.text] = items[i + 1];
      tensors = tensors || is_tensor(items[i + 1]);
    }
    for (const char* name : {"state_dict", "model_state_dict", "model", "module", "params",
                             "model_ema", "ema_state_dict", "ema"}) {
      const auto found = dictionaries.find(name);
      if (found != dictionaries.end()) return dictionary(found->second);
      if (tensors) break;
    }
    return std::nullopt;
  }

  /// Backwards, as the last of several values of a key counts.
  void add_metadata(const std::vector<PickleId>& items) {
    for (size_t i = items.size(); i >= 2; i -= 2) {
      const PickleNode& key = pickle_[items[i - 2]];
      if (key.kind != PickleKind::kText || key.text.size() > kMaxName) continue;
      if (table_.metadata.size() == kMaxMetadata) return;
      const std::string name(key.text);
      if (table_.metadata.contains(name)) continue;
      if (const auto text = plain_text(pickle_[items[i - 1]])) table_.metadata[name] = *text;
    }
  }
  static std::optional<std::string> plain_text(const PickleNode& value) {
    switch (value.kind) {
      case PickleKind::kText:
        if (value.text.size() > kMaxMetadataText) return std::nullopt;
        return std::string(value.text);
      case PickleKind::kInt:
        return fmt::format("{}", value.integer);
      case PickleKind::kBool:
        return value.integer != 0 ? "true" : "false";
      case PickleKind::kFloat:
        return fmt::format("{}", value.number);
      default:
        return std::nullopt;
    }
  }

  /// Adds what `id` is under `name`, if it is a tensor.
  void add_tensor(std::string_view text, PickleId id) {
    constexpr int kMostWrappers = 4;  // a parameter of a subclass; more would be a cycle
    if (pickle_[id].kind != PickleKind::kObject) return;
    const std::string name(text.substr(0, kMaxName));
    PickleId callable = pickle_[id].items[0], arguments = pickle_[id].items[1];
    for (int depth = 0; depth < kMostWrappers; ++depth) {
      const std::string function = pickle_.global_name(callable);
      const std::vector<PickleId>& given = pickle_[arguments].items;
      if (function == "torch._utils._rebuild_tensor" ||
          function == "torch._utils._rebuild_tensor_v2" ||
          function == "torch._utils._rebuild_tensor_v3") {
        if (text.size() > kMaxName) {
          fail(name, fmt::format("has a name of more than {} bytes", kMaxName));
        }
        table_.entries[name] = read_tensor(name, function, given);
        return;
      }
      if (function == "torch._tensor._rebuild_from_type_v2" && given.size() >= 3) {
        callable = given[0];  // (function, type, its arguments, state)
        arguments = given[2];
      } else if ((function == "torch._utils._rebuild_parameter" ||
                  function == "torch._utils._rebuild_parameter_with_state") &&
                 !given.empty() && pickle_[given[0]].kind == PickleKind::kObject) {
        const PickleNode& inner = pickle_[given[0]];
        callable = inner.items[0];
        arguments = inner.items[1];
      } else {
        return;
      }
    }
  }

  [[noreturn]] void fail(const std::string& name, const std::string& problem) const {
    throw DataError(fmt::format("{}: tensor \"{}\" {}", where_, name.substr(0, 200), problem));
  }

  /// (storage, offset, size, stride, requires_grad, hooks[, dtype or metadata]).
  WeightEntry read_tensor(const std::string& name, const std::string& function,
                          const std::vector<PickleId>& given) const {
    if (given.size() < 4 || pickle_[given[0]].kind != PickleKind::kPersistent) {
      fail(name, "is not described as PyTorch does: it needs storage, offset, shape and strides");
    }
    TorchStorage storage = read_torch_storage(pickle_, given[0], where_);
    WeightEntry entry;
    entry.dtype = dtype_of(name, storage, function, given);
    entry.shape = read_sides(name, "shape", given[2]);
    entry.strides = read_sides(name, "strides", given[3]);
    const PickleNode& offset = pickle_[given[1]];
    if (offset.kind != PickleKind::kInt || offset.integer < 0) fail(name, "has no valid offset");
    place(name, storage, offset.integer, entry);
    return entry;
  }

  at::ScalarType dtype_of(const std::string& name, const TorchStorage& storage,
                          const std::string& function, const std::vector<PickleId>& given) const {
    if (!function.ends_with("_v3")) {
      if (storage.dtype == at::ScalarType::Undefined) fail(name, "has a storage without a dtype");
      return storage.dtype;
    }
    const std::string type = given.size() > 6 ? pickle_.global_name(given[6]) : "";
    const auto found = find_type(kNewTypes, type);
    if (!found) fail(name, fmt::format("is of dtype \"{}\", not supported", type.substr(0, 100)));
    return *found;
  }

  std::vector<int64_t> read_sides(const std::string& name, const char* what, PickleId id) const {
    const PickleNode* node = &pickle_[id];
    // torch.Size((…)), as some versions wrote.
    if (node->kind == PickleKind::kObject && pickle_.global_name(node->items[0]) == "torch.Size") {
      const std::vector<PickleId>& given = arguments_of(pickle_, *node);
      if (!given.empty()) node = &pickle_[given[0]];
    }
    if ((node->kind != PickleKind::kTuple && node->kind != PickleKind::kList) ||
        node->items.size() > kMaxDims) {
      fail(name, fmt::format("has no valid {}: 0 to {} numbers are expected", what, kMaxDims));
    }
    std::vector<int64_t> sides;
    for (const PickleId side : node->items) {
      const PickleNode& value = pickle_[side];
      if (value.kind != PickleKind::kInt || value.integer < 0) {
        fail(name, fmt::format("has no valid {}: whole numbers from 0 are expected", what));
      }
      sides.push_back(value.integer);
    }
    return sides;
  }

  /// Sets the bytes of the file that the tensor's elements are.
  void place(const std::string& name, const TorchStorage& storage, int64_t offset,
             WeightEntry& entry) const {
    const auto bytes = byte_count(entry.dtype, entry.shape);
    if (entry.strides.size() != entry.shape.size() || !bytes) {
      fail(name, fmt::format("has shape [{}] and strides [{}], which do not go together",
                             fmt::join(entry.shape, ", "), fmt::join(entry.strides, ", ")));
    }
    const auto element = static_cast<int64_t>(c10::elementSize(entry.dtype));
    const auto [begin, end] = find_(storage);
    const int64_t held = static_cast<int64_t>(end - begin) / element;
    const std::optional<int64_t> last = last_element(entry, offset);
    if (*bytes > 0 && (!last || *last >= held)) {
      fail(name,
           fmt::format("of shape [{}], strides [{}] and offset {} reaches beyond its storage "
                       "of {} elements",
                       fmt::join(entry.shape, ", "), fmt::join(entry.strides, ", "), offset, held));
    }
    if (*bytes > end - begin) {
      fail(name, fmt::format("of shape [{}] repeats the {} elements of its storage; a weight does "
                             "not",
                             fmt::join(entry.shape, ", "), held));
    }
    entry.begin = *bytes == 0 ? begin : begin + static_cast<size_t>(offset * element);
    entry.end = *bytes == 0 ? begin : begin + static_cast<size_t>((*last + 1) * element);
    if (is_row_major(entry)) entry.strides.clear();
  }

  /// In elements of the storage; empty if beyond 63 bits.
  static std::optional<int64_t> last_element(const WeightEntry& entry, int64_t offset) {
    int64_t last = offset;
    for (size_t i = 0; i < entry.shape.size(); ++i) {
      int64_t step = 0;
      if (__builtin_mul_overflow(entry.shape[i] - 1, entry.strides[i], &step) ||
          __builtin_add_overflow(last, step, &last)) {
        return std::nullopt;
      }
    }
    return last;
  }

  static bool is_row_major(const WeightEntry& entry) {
    int64_t expected = 1;
    for (size_t i = entry.shape.size(); i-- > 0;) {
      if (entry.shape[i] != 1 && entry.strides[i] != expected) return false;
      expected *= std::max<int64_t>(entry.shape[i], 1);
    }
    return true;
  }

  const Pickle& pickle_;
  const FindStorage& find_;
  const std::string& where_;
  WeightTable table_;
};

}  // namespace

size_t TorchStorage::element_bytes() const {
  return dtype == at::ScalarType::Undefined ? 1 : c10::elementSize(dtype);
}

std::optional<size_t> TorchStorage::bytes() const {
  return byte_count(dtype == at::ScalarType::Undefined ? at::kByte : dtype, {count});
}

TorchStorage read_torch_storage(const Pickle& pickle, PickleId id, const std::string& where) {
  const auto fail = [&](const std::string& problem) {
    throw DataError(fmt::format("{}: a storage of its pickle {}", where, problem));
  };
  const PickleNode& identity = pickle[pickle[id].items[0]];
  const std::vector<PickleId>& items = identity.items;  // ("storage", class, key, device, count)
  if (identity.kind != PickleKind::kTuple || items.size() < 5 ||
      pickle[items[0]].text != "storage" || pickle[items[2]].kind != PickleKind::kText ||
      pickle[items[2]].text.size() > kMaxName || pickle[items[4]].kind != PickleKind::kInt ||
      pickle[items[4]].integer < 0) {
    fail("is not described as PyTorch does");
  }
  const std::string type = pickle.global_name(items[1]);
  const auto dtype = find_type(kStorages, type);
  if (!dtype) fail(fmt::format("is of type \"{}\", not supported", type.substr(0, 100)));
  TorchStorage storage{std::string(pickle[items[2]].text), *dtype, pickle[items[4]].integer};
  storage.view_count = storage.count;
  if (items.size() > 5 && pickle[items[5]].kind == PickleKind::kTuple) {
    const std::vector<PickleId>& view = pickle[items[5]].items;  // (key, begin, count)
    if (view.size() != 3 || pickle[view[1]].kind != PickleKind::kInt ||
        pickle[view[2]].kind != PickleKind::kInt) {
      fail("has a malformed view");
    }
    storage.view_begin = pickle[view[1]].integer;
    storage.view_count = pickle[view[2]].integer;
    if (storage.view_begin < 0 || storage.view_count < 0 || storage.view_begin > storage.count ||
        storage.view_count > storage.count - storage.view_begin) {
      fail(fmt::format("has a view of {} elements from {} of {}", storage.view_count,
                       storage.view_begin, storage.count));
    }
  }
  return storage;
}

WeightTable collect_torch_tensors(const Pickle& pickle, const FindStorage& find,
                                  const std::string& where) {
  return Collector(pickle, find, where).collect();
}

}  // namespace kessoku::model
