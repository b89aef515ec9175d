#include "data/batch_maker.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "data/caption_edit.h"

namespace kessoku::data {
namespace {

void check_probability(const char* key, double value) {
  if (!(value >= 0 && value <= 1)) {
    throw UsageError(
        fmt::format("data.{} = {} is no probability; it must be between 0 and 1", key, value));
  }
}

Kind choose_kind(const Store& store, bool images) {
  if (images) {
    if (store.keeps(Kind::kImages)) return Kind::kImages;
    throw UsageError(
        "training the VAE needs images, which the store does not keep; prepare it with --keep "
        "images");
  }
  if (store.keeps(Kind::kMoments)) return Kind::kMoments;
  if (store.keeps(Kind::kLatents)) return Kind::kLatents;
  throw UsageError(
      "training the UNet needs moments or latents, which the store does not keep; "
      "prepare it with --model and --keep moments");
}

std::vector<int64_t> with_batch(size_t batch, std::span<const int64_t> row) {
  std::vector<int64_t> shape{static_cast<int64_t>(batch)};
  shape.insert(shape.end(), row.begin(), row.end());
  return shape;
}

// Log-variances are clamped as diffusers' DiagonalGaussianDistribution does.
void sample_moments(const at::Tensor& moments, float scale, std::span<const float> normal,
                    float* out) {
  const at::Half* mean = moments.const_data_ptr<at::Half>();
  const at::Half* log_variance = mean + normal.size();
  for (size_t i = 0; i < normal.size(); ++i) {
    const float clamped = std::clamp(static_cast<float>(log_variance[i]), -30.0f, 20.0f);
    out[i] = (static_cast<float>(mean[i]) + std::exp(0.5f * clamped) * normal[i]) * scale;
  }
}

void copy_pixels(const at::Tensor& row, bool flip, float* out) {
  const uint8_t* pixels = row.const_data_ptr<uint8_t>();
  const int64_t width = row.size(-1);
  for (int64_t start = 0; start < row.numel(); start += width) {
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t value = pixels[start + (flip ? width - 1 - x : x)];
      out[start + x] = static_cast<float>(value) / 127.5f - 1.0f;
    }
  }
}

}  // namespace

BatchMaker::BatchMaker(const Store& store, const LoaderOptions& options)
    : store_(store), options_(options), kind_(choose_kind(store, options.images)) {
  check_probability("caption_dropout", options.caption_dropout);
  check_probability("flip", options.flip);
  if (options.masks) {
    if (!store.keeps(Kind::kImages)) {
      throw UsageError(
          "training an inpainting model needs images beside the latents, which the store does not "
          "keep; prepare it with --keep moments,images");
    }
  }
  if (options.flip > 0 && !options.images) {
    throw UsageError(
        "data.flip needs a store of images: latents cannot be mirrored; set data.flip = 0");
  }
  if (options.first_timestep < 0 || options.first_timestep >= options.timesteps) {
    throw UsageError(fmt::format("timesteps from {} to before {}: there are none",
                                 options.first_timestep, options.timesteps));
  }
  for (const auto& [from, to] : options.caption_rename) {
    if (from.empty())
      throw UsageError(fmt::format("data.caption_rename: an empty word cannot become \"{}\"", to));
  }
}

const Settings& BatchMaker::settings_of(const Draw& draw) const {
  return store_.manifest().settings[store_.rows()[draw.example].settings];
}

std::string BatchMaker::caption_of(const Draw& draw) const {
  const Settings& settings = settings_of(draw);
  const double dropout = settings.caption_dropout.value_or(options_.caption_dropout);
  if (RandomStream(options_.seed, Purpose::kCaptionDropout, draw.number).uniform() < dropout)
    return "";
  std::string caption = rename_words(store_.caption(draw.example), options_.caption_rename);
  if (!options_.shuffle_tags && !settings.shuffle_tags) return caption;
  return shuffle_tags(caption, RandomStream(options_.seed, Purpose::kTagOrder, draw.number));
}

int64_t BatchMaker::variant_of(const Draw& draw) const {
  const auto variants = static_cast<uint64_t>(store_.variants());
  if (variants <= 1) return 0;
  RandomStream random(options_.seed, Purpose::kVariant, draw.number);
  return static_cast<int64_t>(random.below(variants));
}

bool BatchMaker::flipped(const Draw& draw) const {
  const double probability = settings_of(draw).flip.value_or(options_.flip);
  return RandomStream(options_.seed, Purpose::kFlip, draw.number).uniform() < probability;
}

void BatchMaker::fill_images(Batch& batch) const {
  const std::vector<int64_t> shape = store_.shape(batch.draws.front().example, Kind::kImages);
  batch.images = at::empty(with_batch(batch.draws.size(), shape), at::kFloat);
  const at::Tensor row = at::empty(shape, at::kByte);
  float* out = batch.images.mutable_data_ptr<float>();
  for (const Draw& draw : batch.draws) {
    store_.read(draw.example, Kind::kImages, variant_of(draw), row);
    copy_pixels(row, options_.images && flipped(draw), out);  // latents are never flipped
    out += row.numel();
  }
}

void BatchMaker::fill_masks(Batch& batch) const {
  const int64_t height = batch.images.size(2), width = batch.images.size(3);
  batch.masks = at::empty({batch.images.size(0), 1, height, width}, at::kFloat);
  float* out = batch.masks.mutable_data_ptr<float>();
  for (const Draw& draw : batch.draws) {
    const auto size = static_cast<size_t>(height * width);
    fill_mask(options_.seed, draw.number, height, width, *options_.masks, {out, size});
    out += size;
  }
}

void BatchMaker::fill_latents(Batch& batch) const {
  const std::vector<int64_t> row_shape = store_.shape(batch.draws.front().example, kind_);
  std::vector<int64_t> shape = with_batch(batch.draws.size(), row_shape);
  if (kind_ == Kind::kMoments) shape[1] /= 2;
  batch.latents = at::empty(shape, at::kFloat);
  batch.noise = at::empty(shape, at::kFloat);
  const size_t size = static_cast<size_t>(batch.latents.numel()) / batch.draws.size();
  const auto scale = static_cast<float>(store_.manifest().encoder.scaling_factor);
  const at::Tensor row = at::empty(row_shape, at::kHalf);
  std::vector<float> normal(size);
  float* out = batch.latents.mutable_data_ptr<float>();
  float* noise = batch.noise.mutable_data_ptr<float>();
  for (const Draw& draw : batch.draws) {
    store_.read(draw.example, kind_, variant_of(draw), row);
    if (kind_ == Kind::kMoments) {
      RandomStream(options_.seed, Purpose::kVaeSample, draw.number).fill_normal(normal);
      sample_moments(row, scale, normal, out);
    } else {
      const at::Half* latent = row.const_data_ptr<at::Half>();
      for (size_t i = 0; i < size; ++i) out[i] = static_cast<float>(latent[i]) * scale;
    }
    fill_noise(options_.seed, draw.number, {shape[1], shape[2], shape[3]}, options_.noise,
               {noise, size});
    out += size;
    noise += size;
  }
}

void BatchMaker::fill_input_ids(Batch& batch) const {
  for (size_t i = 0; i < batch.captions.size(); ++i) {
    const std::vector<int64_t> ids = options_.encode_caption(batch.captions[i]);
    const auto length = static_cast<int64_t>(ids.size());
    if (i == 0)
      batch.input_ids = at::empty({static_cast<int64_t>(batch.captions.size()), length}, at::kLong);
    if (length != batch.input_ids.size(1))
      throw std::logic_error("captions became token lists of unequal length");
    std::copy(ids.begin(), ids.end(),
              batch.input_ids.mutable_data_ptr<int64_t>() + static_cast<int64_t>(i) * length);
  }
}

Batch BatchMaker::make(uint64_t step, uint32_t micro, std::vector<Draw> draws) const {
  Batch batch;
  batch.step = step;
  batch.micro = micro;
  batch.draws = std::move(draws);
  const auto size = static_cast<int64_t>(batch.draws.size());
  batch.loss_scale = at::empty({size}, at::kFloat);
  float* loss_scale = batch.loss_scale.mutable_data_ptr<float>();
  batch.timesteps = at::empty({size}, at::kLong);
  int64_t* timestep = batch.timesteps.mutable_data_ptr<int64_t>();
  for (const Draw& draw : batch.draws) {
    batch.captions.push_back(caption_of(draw));
    *loss_scale++ = static_cast<float>(settings_of(draw).loss_scale);
    RandomStream random(options_.seed, Purpose::kTimestep, draw.number);
    const auto range = static_cast<uint64_t>(options_.timesteps - options_.first_timestep);
    *timestep++ = options_.first_timestep + static_cast<int64_t>(random.below(range));
  }
  if (options_.images) {
    fill_images(batch);
  } else {
    fill_latents(batch);
  }
  if (options_.masks) {
    fill_images(batch);
    fill_masks(batch);
  }
  if (options_.encode_caption) fill_input_ids(batch);
  return batch;
}

}  // namespace kessoku::data
