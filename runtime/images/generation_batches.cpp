#include "runtime/images/generation_batches.h"

#include "model/pipeline/pipeline.h"

namespace kessoku::runtime {

std::vector<std::vector<size_t>> group_into_batches(const model::StableDiffusion& model,
                                                    const std::vector<GenerationSettings>& images) {
  std::vector<std::vector<size_t>> batches;
  std::map<std::string, size_t> open;
  for (size_t i = 0; i < images.size(); ++i) {
    const std::string key = fmt::format("{} {} {}", model::batch_key(model, images[i].request),
                                        images[i].batch, images[i].threads);
    const auto [place, is_new] = open.emplace(key, batches.size());
    if (is_new) batches.emplace_back();
    std::vector<size_t>& batch = batches[place->second];
    batch.push_back(i);
    if (batch.size() == static_cast<size_t>(images[i].batch)) open.erase(place);
  }
  return batches;
}

int64_t usual_batch(const model::StableDiffusion& model, const model::GenerationRequest& request) {
  const int64_t side = model.vae.config().downscale();
  return std::clamp<int64_t>(1024 / (request.width / side * (request.height / side)), 1, 8);
}

}  // namespace kessoku::runtime
