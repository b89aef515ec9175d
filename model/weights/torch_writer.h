#pragma once

#include <filesystem>
#include <map>

#include "model/weights/lazy_tensor.h"

namespace kessoku::model {

/// What the dictionary in a file of torch.save is to hold.
struct TorchContent {
  TensorOutputs tensors;
  bool in_state_dict = false;                ///< the tensors in a dictionary called "state_dict"
  std::map<std::string, std::string> texts;  ///< beside them
};

/// Writes a file as torch.save does since PyTorch 1.6, such that torch.load(weights_only=True)
/// reads it; beside `path` first, then fsynced and renamed. Tensors are made one at a time; names
/// must be unique.
void write_torch_file(const std::filesystem::path& path, const TorchContent& content);

}  // namespace kessoku::model
