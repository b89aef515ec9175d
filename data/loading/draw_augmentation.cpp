#include "data/loading/draw_augmentation.h"

#include "base/error.h"
#include "base/random.h"
#include "data/captions/caption_edit.h"
#include "data/images/crop.h"

namespace kessoku::data {

namespace {

void check_probability(const char* key, double value) {
  if (!(value >= 0 && value <= 1)) {
    throw UsageError(
        fmt::format("data.{} = {} is no probability; it must be between 0 and 1", key, value));
  }
}

}  // namespace

DrawAugmentation::DrawAugmentation(const Store& store, const LoaderOptions& options)
    : store_(store), options_(options) {
  check_probability("caption_dropout", options.caption_dropout);
  check_probability("flip", options.flip);
  if (options.flip > 0 && !options.images && !has_mirrored_variants()) {
    throw UsageError(
        "data.flip: latents cannot be mirrored when they are drawn; set data.flip = 0, or let the "
        "store hold a mirror image of each (kessoku prepare --variants 2)");
  }
  for (const auto& [from, to] : options.caption_rename) {
    if (from.empty())
      throw UsageError(fmt::format("data.caption_rename: an empty word cannot become \"{}\"", to));
  }
}

const Settings& DrawAugmentation::settings_of(const Draw& draw) const {
  static const Settings kPlain;
  if (!options_.use_settings) return kPlain;
  return store_.manifest().settings[store_.rows()[draw.example].settings];
}

std::optional<double> DrawAugmentation::flip_of(const Draw& draw) const {
  const Settings& settings = settings_of(draw);
  if (settings.flip || options_.flip == 0) return settings.flip;
  return options_.flip;
}

bool DrawAugmentation::mirrored(const Draw& draw, double probability) const {
  return RandomStream(options_.seed, Purpose::kFlip, draw.number).uniform() < probability;
}

int64_t DrawAugmentation::variant_of(const Draw& draw) const {
  const auto variants = static_cast<uint64_t>(store_.variants());
  if (variants <= 1) return 0;
  RandomStream random(options_.seed, Purpose::kVariant, draw.number);
  const std::optional<double> flip = flip_of(draw);
  if (!flip) return static_cast<int64_t>(random.below(variants));
  const bool mirror = mirrored(draw, *flip);
  const uint64_t crops = mirror ? variants / 2 : (variants + 1) / 2;
  return variant_of_crop(static_cast<int64_t>(random.below(crops)), mirror);
}

bool DrawAugmentation::mirrors_pixels(const Draw& draw) const {
  return !has_mirrored_variants() && mirrored(draw, flip_of(draw).value_or(0));
}

std::string DrawAugmentation::caption_of(const Draw& draw) const {
  const Settings& settings = settings_of(draw);
  const double dropout = settings.caption_dropout.value_or(options_.caption_dropout);
  if (RandomStream(options_.seed, Purpose::kCaptionDropout, draw.number).uniform() < dropout)
    return "";
  const std::string caption = store_.caption(draw.example);
  const auto& renames = options_.caption_rename;
  if (!options_.shuffle_tags && !settings.shuffle_tags) return rename_words(caption, renames);
  const std::string encoded = store_.caption_parts(draw.example);
  std::vector<CaptionPart> parts =
      caption_parts(encoded.empty() ? rename_words(caption, renames) : caption, encoded);
  if (!encoded.empty()) {
    for (CaptionPart& part : parts) part.text = rename_words(part.text, renames);
  }
  parts = join_first(std::move(parts), static_cast<size_t>(options_.keep_tags));
  return join_parts(shuffle_tags(std::move(parts), settings.longest_caption,
                                 {options_.seed, Purpose::kTagOrder, draw.number}));
}

int64_t DrawAugmentation::timestep_of(const Draw& draw) const {
  const auto range = static_cast<uint64_t>(options_.timesteps - options_.first_timestep);
  RandomStream random(options_.seed, Purpose::kTimestep, draw.number);
  return options_.first_timestep + static_cast<int64_t>(random.below(range));
}

}  // namespace kessoku::data
