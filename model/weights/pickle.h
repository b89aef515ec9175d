#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kessoku::model {

/// Place of a node in Pickle::nodes.
using PickleId = uint32_t;

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,    ///< `text`: characters, or the bytes of an integer that 64 bits do not hold
  kTuple,   ///< `items`
  kList,    ///< `items`; sets too
  kDict,    ///< `items`: key, value, key, value, …
  kGlobal,  ///< a function or class by name; `items`: module, name
  kObject,  ///< what Python would have called: `items`: callable, arguments, then key, value, …
  kPersistent,  ///< refers to something outside the pickle; `items`: its identity
};

struct PickleNode {
  PickleKind kind = PickleKind::kNone;
  int64_t integer = 0;    ///< of kBool and kInt
  double number = 0;      ///< of kFloat
  std::string_view text;  ///< of kText; lies in the bytes that were read
  std::vector<PickleId> items;
};

/// A pickle as data: what it would have made Python call or build is only noted down, so reading
/// one executes nothing. Nodes may be shared, and cycles are possible.
struct Pickle {
  std::vector<PickleNode> nodes;
  PickleId root = 0;
  size_t size = 0;  ///< bytes up to and with the end mark

  const PickleNode& operator[](PickleId id) const { return nodes[id]; }
  /// "module.name" of a global; empty for anything else, and for longer names than there are.
  std::string global_name(PickleId id) const;
};

/// Reads the pickle of protocol 0 to 5 at the beginning of `bytes`. Time and memory are linear in
/// what is read and bounded. `where` names the file in errors. Throws DataError.
Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where);

}  // namespace kessoku::model
