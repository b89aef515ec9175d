#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "model/weights/stored_weights.h"
#include "model/weights/weight_file.h"

namespace kessoku::launcher {

/// What is stored of a network, compared with what its config asks for.
struct NetworkContents {
  size_t tensors = 0;
  int64_t parameters = 0;
  std::map<std::string, size_t> dtypes;  ///< tensors by "fp16", "fp32" …
  model::WeightProblems problems;
};

struct ModelContents {
  std::string kind;
  std::map<std::string, NetworkContents> components;  ///< by "unet", "text_encoder", "vae"
  /// Something is stored, and nothing is wrong with any of it.
  bool complete() const;
};

struct WeightFileContents {
  std::string file;  ///< its name
  std::string format;
  uint64_t bytes = 0;
  bool ema = false;  ///< has moving averages of the UNet
  ModelContents model;
  size_t other_tensors = 0;
  std::map<std::string, model::WeightEntry> tensors;
  int64_t parameters = 0;
  std::map<std::string, std::string> metadata;
};

/// A model folder's, or one network's. Throws DataError if a file is damaged.
ModelContents describe_model_folder(const std::filesystem::path& folder);

/// A lone weight file's. `config`: model folder whose configs are taken instead of those it has or
/// Stable Diffusion 1.5's; or empty.
WeightFileContents describe_weight_file(const std::filesystem::path& file,
                                        const std::filesystem::path& config);

/// What `inspect MODEL --json` prints: {"kind", "components": {"unet": {"tensors", "parameters",
/// "dtypes": {"fp16": tensors}, "missing": [line], "mismatched": [line], "unexpected": [line]}, …},
/// "complete"}.
nlohmann::json to_json(const ModelContents& model);
/// The same, with {"file", "format", "bytes", "ema", "other_tensors", "tensors": [{"name", "dtype",
/// "shape"}], "parameters", "metadata"} besides.
nlohmann::json to_json(const WeightFileContents& weights);

/// The same for a person. All tensors are listed if `every_tensor`, or if it is unknown what they
/// are.
void print_model_folder(const ModelContents& model);
void print_weight_file(const WeightFileContents& weights, bool every_tensor);

}  // namespace kessoku::launcher
