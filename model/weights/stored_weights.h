#pragma once

#include <filesystem>

#include "model/weights/lazy_tensor.h"
#include "model/weights/weight_file.h"

namespace kessoku::model {

/// The weights of one network as they lie in files, by the names that diffusers and transformers
/// have for them today. What is not part of the network is in it under the file's own name.
struct StoredWeights {
  struct Place {
    std::shared_ptr<const WeightFile> file;
    std::string name;
  };
  std::map<std::string, Place> tensors;
  std::filesystem::path where;  ///< a file or folder, for errors
  /// How `where` would call a weight that is missing; the same if empty.
  std::function<std::string(const std::string&)> spelling;
};

/// Tensors, without a meaning of their own, by which some tools mark that a UNet predicts v and was
/// trained down to no signal at all.
inline constexpr const char *kVPredictionMark = "v_pred", *kZeroTerminalSnrMark = "ztsnr";

/// Opens the weights in a module's folder of a diffusers model: `stem`.safetensors or .bin (of
/// transformers' "model" pytorch_model.bin), the fp16 variant of either, or an index of several
/// files. Of several the first in this order, as diffusers does, with a warning if they differ.
/// Older spellings of tensors are understood. Throws UsageError if there is no such file.
StoredWeights open_folder_weights(const std::filesystem::path& folder, const std::string& stem);

/// The weights of a file that has them under diffusers' or transformers' names, in spellings old or
/// new.
StoredWeights named_weights(std::shared_ptr<const WeightFile> file);

/// What is wrong with stored weights, one line a tensor that says what was expected.
struct WeightProblems {
  std::vector<std::string> missing, mismatched, unexpected;
};
WeightProblems compare_weights(const Parameters& expected, const StoredWeights& stored);

/// Throws DataError naming file and tensor if one of `expected` is missing or has another shape, or
/// if there are more.
void check_weights(const Parameters& expected, const StoredWeights& stored);

/// Checks, then copies into `parameters`, whatever the files' dtypes.
void load_weights(const Parameters& parameters, const StoredWeights& stored);
void load_weights(const Parameters& parameters, const std::filesystem::path& folder,
                  const std::string& stem);

/// Checks, then gives the stored weights in order and shape of `expected`; in `dtype`, if given.
TensorOutputs outputs_of(const Parameters& expected, const StoredWeights& stored,
                         std::optional<at::ScalarType> dtype);

}  // namespace kessoku::model
