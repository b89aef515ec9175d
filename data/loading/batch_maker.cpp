#include "data/loading/batch_maker.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/numeric/portable_math.h"
#include "base/random.h"

namespace kessoku::data {
namespace {

Kind latent_kind(const Store& store) {
  if (store.keeps(Kind::kMoments)) return Kind::kMoments;
  if (store.keeps(Kind::kLatents)) return Kind::kLatents;
  throw UsageError(
      "training the UNet needs moments or latents, which the store does not keep; "
      "prepare it with --model and --keep moments");
}

std::vector<Kind> choose_kinds(const Store& store, const LoaderOptions& options) {
  std::vector<Kind> kinds;
  if (!options.images) kinds.push_back(latent_kind(store));
  if (!options.images && !options.masks) return kinds;
  if (!store.keeps(Kind::kImages)) {
    throw UsageError(
        options.images
            ? "training the VAE needs images, which the store does not keep; prepare it with "
              "--keep images"
            : "training an inpainting model needs images beside the latents, which the store does "
              "not keep; prepare it with --keep moments,images");
  }
  kinds.push_back(Kind::kImages);
  return kinds;
}

// Item `i` of a batch.
std::span<float> place(const at::Tensor& batch, size_t i) {
  const size_t size = static_cast<size_t>(batch.numel() / batch.size(0));
  return {batch.mutable_data_ptr<float>() + i * size, size};
}

// Makes latents of unit normals, in place. Log-variances are clamped as diffusers'
// DiagonalGaussianDistribution does.
void sample_moments(const at::Tensor& moments, float scale, std::span<float> normal) {
  constexpr size_t kMany = 1024;
  const std::span means(moments.const_data_ptr<at::Half>(), normal.size());
  const std::span log_variances(means.data() + means.size(), means.size());
  std::array<float, kMany> some_means, some_deviations;
  for (size_t done = 0; done < normal.size(); done += kMany) {
    const size_t count = std::min(kMany, normal.size() - done);
    const std::span mean(some_means.data(), count), deviation(some_deviations.data(), count);
    widen(means.subspan(done, count), mean);
    widen(log_variances.subspan(done, count), deviation);
    for (float& value : deviation) value = 0.5f * std::clamp(value, -30.0f, 20.0f);
    exponentiate(deviation);
    float* out = normal.data() + done;
    for (size_t i = 0; i < count; ++i) out[i] = (mean[i] + deviation[i] * out[i]) * scale;
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

BatchMaker::BatchMaker(const Store& store, const LoaderOptions& options,
                       RowReader::Substitutes substitutes)
    : store_(store),
      options_(options),
      choices_(store, options_),
      kinds_(choose_kinds(store, options)),
      reader_(store, kinds_, std::move(substitutes), options.on_bad_row),
      slabs_(options.pinned) {
  if (options.first_timestep < 0 || options.first_timestep >= options.timesteps) {
    throw UsageError(fmt::format("timesteps from {} to before {}: there are none",
                                 options.first_timestep, options.timesteps));
  }
}

std::vector<int64_t> BatchMaker::latent_shape(const Batch& batch) const {
  std::vector<int64_t> shape = store_.shape(batch.draws.front().example, kinds_.front());
  if (kinds_.front() == Kind::kMoments) shape[0] /= 2;
  return shape;
}

// Reads the rows, which may give draws to other examples: to be done before anything else.
void BatchMaker::read_rows(Batch& batch) const {
  std::vector<at::Tensor> rows;
  for (const Kind kind : kinds_) {
    std::vector<int64_t> shape = store_.shape(batch.draws.front().example, kind);
    const bool images = kind == Kind::kImages;
    rows.push_back(rows_.take(shape, images ? at::kByte : at::kHalf));
    if (!images) shape = latent_shape(batch);
    shape.insert(shape.begin(), static_cast<int64_t>(batch.draws.size()));
    (images ? batch.images : batch.latents) = slabs_.take(shape, at::kFloat);
  }
  for (size_t i = 0; i < batch.draws.size(); ++i) {
    Draw& draw = batch.draws[i];
    const uint32_t wanted = draw.example;
    reader_.read(draw, choices_.variant_of(draw), rows);
    batch.replaced += draw.example != wanted;
    for (size_t k = 0; k < kinds_.size(); ++k) {
      if (kinds_[k] == Kind::kImages) {
        // Beside latents, which are never flipped, images are not either.
        copy_pixels(rows[k], options_.images && choices_.mirrors_pixels(draw),
                    place(batch.images, i).data());
      } else {
        fill_latent(draw, rows[k], place(batch.latents, i));
      }
    }
  }
}

void BatchMaker::fill_latent(const Draw& draw, const at::Tensor& row, std::span<float> out) const {
  const auto scale = static_cast<float>(store_.manifest().encoder.scaling_factor);
  if (kinds_.front() == Kind::kLatents) {
    widen({row.const_data_ptr<at::Half>(), out.size()}, out);
    for (float& value : out) value *= scale;
    return;
  }
  RandomStream(options_.seed, Purpose::kVaeSample, draw.number).fill_normal(out);
  sample_moments(row, scale, out);
}

void BatchMaker::fill_noises(Batch& batch) const {
  batch.noise = slabs_.take(batch.latents.sizes(), at::kFloat);
  const std::vector<int64_t> shape = latent_shape(batch);
  for (size_t i = 0; i < batch.draws.size(); ++i) {
    fill_noise(options_.seed, batch.draws[i].number, {shape[0], shape[1], shape[2]}, options_.noise,
               place(batch.noise, i));
  }
}

void BatchMaker::fill_masks(Batch& batch) const {
  const int64_t height = batch.images.size(2), width = batch.images.size(3);
  batch.masks = slabs_.take({batch.images.size(0), 1, height, width}, at::kFloat);
  for (size_t i = 0; i < batch.draws.size(); ++i) {
    fill_mask(options_.seed, batch.draws[i].number, height, width, *options_.masks,
              place(batch.masks, i));
  }
}

void BatchMaker::fill_numbers(Batch& batch) const {
  const auto size = static_cast<int64_t>(batch.draws.size());
  batch.loss_scale = slabs_.take({size}, at::kFloat);
  batch.timesteps = slabs_.take({size}, at::kLong);
  float* loss_scale = batch.loss_scale.mutable_data_ptr<float>();
  int64_t* timestep = batch.timesteps.mutable_data_ptr<int64_t>();
  for (const Draw& draw : batch.draws) {
    *loss_scale++ = static_cast<float>(choices_.settings_of(draw).loss_scale);
    *timestep++ = choices_.timestep_of(draw);
  }
}

void BatchMaker::fill_input_ids(Batch& batch) const {
  for (size_t i = 0; i < batch.captions.size(); ++i) {
    const auto [ids, truncated] = options_.encode_caption(batch.captions[i]);
    batch.truncated += truncated;
    const auto length = static_cast<int64_t>(ids.size());
    if (i == 0)
      batch.input_ids =
          slabs_.take({static_cast<int64_t>(batch.captions.size()), length}, at::kLong);
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
  read_rows(batch);
  if (batch.latents.defined()) fill_noises(batch);
  if (options_.masks) fill_masks(batch);
  fill_numbers(batch);
  for (const Draw& draw : batch.draws) batch.captions.push_back(choices_.caption_of(draw));
  if (options_.encode_caption) fill_input_ids(batch);
  return batch;
}

}  // namespace kessoku::data
