#pragma once

#include "model/weights/weight_file.h"

namespace kessoku::model {

/// A file of torch.save since PyTorch 1.6: a ZIP archive of data.pkl and one member a storage.
/// Throws DataError.
WeightTable parse_torch_zip(const MappedFile& file);

/// Whether a file begins with a pickle, as those of torch.save before PyTorch 1.6 do.
bool is_legacy_torch_file(const MappedFile& file);
/// Such a file: pickles of a magic number, a version, the machine, the object and the keys of the
/// storages; then those, in that order. Throws DataError.
WeightTable parse_legacy_torch_file(const MappedFile& file);

}  // namespace kessoku::model
