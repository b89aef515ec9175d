#include "model/stable_diffusion/model_digest.h"

#include <nlohmann/json.hpp>

#include "base/checksum.h"

namespace kessoku::model {

namespace {

void add_json(Checksummer& digest, nlohmann::json json) {
  json.erase("_diffusers_version");
  digest.add(json.dump());
}

template <typename Module>
void add_module(Checksummer& digest, const Module& module) {
  add_json(digest, module.config().to_json());
  for (const auto& [name, tensor] : module.parameters()) {
    const at::Tensor values = tensor.detach().cpu().contiguous();
    digest.add(name);
    digest.add({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
}

}  // namespace

std::string model_digest(const StableDiffusion& model) {
  Checksummer digest;
  add_module(digest, model.unet);
  add_module(digest, model.text_encoder);
  add_module(digest, model.vae);
  add_json(digest, model.schedule.to_json());
  return to_hex(digest.value());
}

}  // namespace kessoku::model
