#pragma once

#include "model/weights/pickle.h"
#include "model/weights/weight_file.h"

namespace kessoku::model {

/// A storage that a pickle of torch.save refers to: a run of elements that tensors are views of.
struct TorchStorage {
  std::string key;
  /// Undefined for an untyped one, whose elements are bytes until a tensor says what they are.
  at::ScalarType dtype = at::ScalarType::Undefined;
  int64_t count = 0;       ///< elements
  int64_t view_begin = 0;  ///< of the part that this one is, in elements …
  int64_t view_count = 0;  ///< … and its length

  size_t element_bytes() const;
  /// Of the whole of it; empty if beyond 63 bits.
  std::optional<size_t> bytes() const;
};

/// The storage that a kPersistent node means. Throws DataError if it is none.
TorchStorage read_torch_storage(const Pickle& pickle, PickleId id, const std::string& where);

/// The bytes of a file in which a storage lies. Throws DataError if it does not lie there whole.
using FindStorage = std::function<std::pair<size_t, size_t>(const TorchStorage&)>;

/// The tensors of a pickle's dictionary, or of the one called "state_dict" in it; plain numbers and
/// texts beside them become metadata. Everything else (optimizers, callbacks …) is passed over.
/// Throws DataError naming file and tensor if a tensor is not within its storage.
WeightTable collect_torch_tensors(const Pickle& pickle, const FindStorage& find,
                                  const std::string& where);

}  // namespace kessoku::model
