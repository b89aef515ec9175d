#include "model/stable_diffusion/folder_files.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"

namespace kessoku::model {

namespace {

bool is_network_file(const std::string& name, bool text_encoder) {
  if (name == "config.json") return true;
  return text_encoder ? name == "model.safetensors" || name == "pytorch_model.bin"
                      : name == "diffusion_pytorch_model.safetensors" ||
                            name == "diffusion_pytorch_model.bin";
}

template <typename Config>
bool is_written_as(const std::string& text, const std::filesystem::path& file) {
  const nlohmann::json json = parse_json(text, file.string());
  return Config::from_json(json, file.string()).to_json().dump(2) + "\n" == text;
}

}  // namespace

bool is_model_folder_file(const std::filesystem::path& name) {
  static const std::set<std::string> others{"model_index.json",
                                            "scheduler/scheduler_config.json",
                                            "tokenizer/merges.txt",
                                            "tokenizer/special_tokens_map.json",
                                            "tokenizer/tokenizer_config.json",
                                            "tokenizer/vocab.json"};
  const std::string folder = name.parent_path().generic_string();
  const std::string file = name.filename().string();
  if (folder == "unet" || folder == "vae") return is_network_file(file, false);
  if (folder == "text_encoder") return is_network_file(file, true);
  if (folder.empty() && (is_network_file(file, false) || is_network_file(file, true))) return true;
  return others.contains(name.generic_string());
}

bool is_written_config(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  for (const auto is_written :
       {is_written_as<UNetConfig>, is_written_as<VaeConfig>, is_written_as<TextEncoderConfig>}) {
    try {
      if (is_written(text, file)) return true;
    } catch (const DataError&) {  // another network's, or anybody's
    }
  }
  return false;
}

}  // namespace kessoku::model
