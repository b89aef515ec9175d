#include "data/store/store_warnings.h"

#include <fmt/format.h>

namespace kessoku::data {

namespace {

constexpr double kEnlarged = 2;     ///< times; a blurred image
constexpr double kLeastArea = 0.5;  ///< of an image that its crop should keep

/// How many images something is true of, and the one of which it is most.
struct Finding {
  uint64_t count = 0;
  double most = 0;
  size_t example = 0;

  void add(size_t i, double amount) {
    ++count;
    if (amount <= most) return;
    most = amount;
    example = i;
  }
};

std::string name_of(const Store& store, size_t example) {
  const Provenance from = store.provenance(example);
  return fmt::format("{} of {}x{}", store.source(example), from.source_width, from.source_height);
}

}  // namespace

std::vector<std::string> store_warnings(const Store& store) {
  Finding enlarged, cropped;
  for (size_t i = 0; i < store.size(); ++i) {
    const Provenance from = store.provenance(i);
    const Bucket& bucket = store.manifest().buckets[store.rows()[i].bucket];
    const double width = from.crop[2] - from.crop[0], height = from.crop[3] - from.crop[1];
    const double area = static_cast<double>(from.source_width) * from.source_height;
    if (width < 1 || height < 1 || area < 1) continue;  // latents that came without their image
    const double times = std::max(static_cast<double>(bucket.width) / width,
                                  static_cast<double>(bucket.height) / height);
    if (times >= kEnlarged) enlarged.add(i, times);
    if (width * height < kLeastArea * area) cropped.add(i, area / (width * height));
  }
  std::vector<std::string> warnings;
  if (enlarged.count > 0) {
    warnings.push_back(fmt::format(
        "images enlarged {:.0f} times or more to fill their bucket: {} of {}, most of all {}, "
        "{:.1f} "
        "times; prepare them with a lower --resolution, or leave them out",
        kEnlarged, enlarged.count, store.size(), name_of(store, enlarged.example), enlarged.most));
  }
  if (cropped.count > 0) {
    warnings.push_back(fmt::format(
        "images that lose more than half of their area to fit a bucket: {} of {}, most of all {}, "
        "of "
        "which {:.0f} % is left; cut them up, or leave them out",
        cropped.count, store.size(), name_of(store, cropped.example), 100 / cropped.most));
  }
  const std::vector<std::string>& about_dataset = store.manifest().warnings;
  warnings.insert(warnings.end(), about_dataset.begin(), about_dataset.end());
  return warnings;
}

}  // namespace kessoku::data
