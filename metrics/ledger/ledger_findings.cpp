#include "metrics/ledger/ledger_findings.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "metrics/ledger/ledger_file.h"

namespace kessoku::metrics {

namespace {

constexpr uint64_t kEnoughDraws = 5;
constexpr size_t kEnoughImages = 8;  ///< of a folder, for one to stand out
constexpr double kFar = 3;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// Loss of an image, relative to what `others` lose at its timesteps.
double relative_loss(const LedgerImage& image, const LearnedFolder& others) {
  double expected = 0;
  for (size_t i = 0; i < kLedgerBins; ++i) {
    if (image.bins[i].count > 0)
      expected += static_cast<double>(image.bins[i].count) * others.bins[i].mean();
  }
  return expected > 0 ? image.total().sum / expected : 1;
}

/// Mean over an image's draws of the losses' distance from the folder's mean at the timestep, in
/// the folder's standard deviations there.
double mean_z(const LedgerImage& image, const LearnedFolder& folder) {
  double sum = 0, draws = 0;
  for (size_t i = 0; i < kLedgerBins; ++i) {
    const LossSum& own = image.bins[i];
    const double spread = folder.bins[i].spread();
    if (own.count == 0 || !(spread > 0)) continue;
    sum += (own.sum - static_cast<double>(own.count) * folder.bins[i].mean()) / spread;
    draws += static_cast<double>(own.count);
  }
  return draws > 0 ? sum / draws : 0;
}

/// Sets the deviations of a folder's images. Robust: the images that are looked for must not hide
/// themselves in the standard deviation.
void set_deviations(const std::vector<const LedgerImage*>& images, const LearnedFolder& folder,
                    std::vector<LearnedImage*> found) {
  if (images.size() < kEnoughImages) return;
  std::vector<double> scores, distances;
  for (const LedgerImage* image : images) scores.push_back(mean_z(*image, folder));
  const double middle = median(scores);
  for (const double score : scores) distances.push_back(std::abs(score - middle));
  const double spread = 1.4826 * median(distances);  // of a normal distribution
  for (size_t i = 0; i < images.size(); ++i) {
    const double noise = 1 / std::sqrt(static_cast<double>(found[i]->losses.count));
    found[i]->deviation = (scores[i] - middle) / std::max(spread, noise);
  }
}

template <typename Less>
std::vector<LearnedImage> first_of(std::vector<LearnedImage> images, size_t most, Less less) {
  std::ranges::stable_sort(images, less);
  images.resize(std::min(images.size(), most));
  return images;
}

}  // namespace

LossSum LearnedFolder::total() const {
  LossSum sum;
  for (const LossSum& bin : bins) sum.add(bin);
  return sum;
}

LedgerFindings examine(const Ledger& ledger, size_t most) {
  LedgerFindings findings{.first_step = ledger.first_step, .step = ledger.step};
  std::map<std::string, LearnedFolder> folders;
  for (const LedgerImage& image : ledger.images) {
    if (image.total().count == 0) continue;
    LearnedFolder& folder = folders[image.folder];
    folder.folder = image.folder;
    for (LearnedFolder* sums : {&folder, &findings.all}) {
      ++sums->images;
      for (size_t i = 0; i < kLedgerBins; ++i) sums->bins[i].add(image.bins[i]);
    }
  }
  std::vector<LearnedImage> images;
  images.reserve(ledger.images.size());  // pointers into it follow
  std::map<std::string, std::pair<std::vector<const LedgerImage*>, std::vector<LearnedImage*>>>
      by_folder;
  for (const LedgerImage& image : ledger.images) {
    if (image.total().count < kEnoughDraws) continue;
    images.push_back(
        {image.source, image.folder, image.total(), relative_loss(image, findings.all)});
    by_folder[image.folder].first.push_back(&image);
    by_folder[image.folder].second.push_back(&images.back());
  }
  for (const auto& [name, members] : by_folder)
    set_deviations(members.first, folders.at(name), members.second);
  for (const auto& [name, folder] : folders) findings.folders.push_back(folder);

  const auto relative_less = [](const LearnedImage& a, const LearnedImage& b) {
    return a.relative < b.relative;
  };
  const auto relative_greater = [](const LearnedImage& a, const LearnedImage& b) {
    return a.relative > b.relative;
  };
  // No image is both.
  const size_t half = std::min(most, images.size() / 2);
  findings.best = first_of(images, half, relative_less);
  findings.worst = first_of(images, half, relative_greater);
  std::erase_if(images, [](const LearnedImage& image) { return image.deviation < kFar; });
  findings.suspicious = first_of(
      std::move(images), most,
      [](const LearnedImage& a, const LearnedImage& b) { return a.deviation > b.deviation; });
  return findings;
}

std::optional<LedgerFindings> findings_of(const std::filesystem::path& run) {
  try {
    const std::optional<Ledger> ledger = read_ledger(run);
    if (ledger) return examine(*ledger);
  } catch (const Error& error) {  // or a file that the run has just removed
    log_warning("{}", error.what());
  }
  return std::nullopt;
}

}  // namespace kessoku::metrics
