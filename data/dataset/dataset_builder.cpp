#include "data/dataset/dataset_builder.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/captions/caption.h"

namespace kessoku::data {

namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "." : path.substr(0, slash);
}

std::string to_key(const Settings& settings) {
  return fmt::format("{} {} {} {} {} {} {}", settings.multiply,
                     settings.caption_dropout.value_or(-1), settings.flip.value_or(-1),
                     settings.loss_scale, settings.shuffle_tags, settings.longest_caption,
                     settings.batch_id);
}

}  // namespace

DatasetBuilder::DatasetBuilder(std::filesystem::path root) {
  dataset_.root = std::move(root);
  category_index(".");
}

Category& DatasetBuilder::category(const std::string& path) {
  return dataset_.categories[category_index(path)];
}

void DatasetBuilder::for_each_category(
    const std::function<void(const std::string&, Category&)>& visit) {
  for (const auto& [path, index] : std::map(categories_.begin(), categories_.end()))
    visit(path, dataset_.categories[index]);
}

// As people (and [mixture]) write it: composed. Should two folders look the same, the second one
// keeps its bytes.
std::string DatasetBuilder::unique_name(const std::string& path) const {
  std::string name = compose(path);
  return names_.contains(name) ? path : name;
}

uint32_t DatasetBuilder::category_index(const std::string& path) {
  if (const auto found = categories_.find(path); found != categories_.end()) return found->second;
  if (path != ".") category_index(folder_of(path));
  const auto index = static_cast<uint32_t>(dataset_.categories.size());
  const std::string name = unique_name(path);
  dataset_.categories.push_back({.path = name});
  categories_.emplace(path, index);
  names_.emplace(name, index);
  return index;
}

uint32_t DatasetBuilder::settings_index(const Settings& settings) {
  const auto next = static_cast<uint32_t>(dataset_.settings.size());
  const auto [found, is_new] = settings_.try_emplace(to_key(settings), next);
  if (is_new) dataset_.settings.push_back(settings);
  return found->second;
}

void DatasetBuilder::add(Example example, const Settings& settings) {
  example.category = category_index(folder_of(example.source));
  example.settings = settings_index(settings);
  dataset_.examples.push_back(std::move(example));
}

void DatasetBuilder::skip(const std::string& source, const std::string& reason) {
  dataset_.skipped.push_back({source, reason});
}

void DatasetBuilder::note_captionless(const std::string& source, const std::string& caption) {
  if (captionless_++ == 0) first_captionless_ = fmt::format("\"{}\" of {}", caption, source);
}

std::vector<std::string> DatasetBuilder::warnings() const {
  std::vector<std::string> lines = warnings_.list();
  if (captionless_ == 0) return lines;
  lines.insert(lines.begin(),
               fmt::format("images without a caption: {} of {}; theirs is the name of the file or "
                           "folder, such as {}",
                           captionless_, examples(), first_captionless_));
  return lines;
}

Dataset DatasetBuilder::finish() {
  std::vector<uint32_t> order(dataset_.categories.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin() + 1, order.end(), [&](uint32_t a, uint32_t b) {
    return dataset_.categories[a].path < dataset_.categories[b].path;
  });
  std::vector<Category> sorted;
  std::vector<uint32_t> place(order.size());
  for (const uint32_t old : order) {
    place[old] = static_cast<uint32_t>(sorted.size());
    sorted.push_back(std::move(dataset_.categories[old]));
  }
  dataset_.categories = std::move(sorted);
  for (Example& example : dataset_.examples) example.category = place[example.category];
  std::ranges::stable_sort(dataset_.examples, {}, &Example::source);
  std::ranges::sort(dataset_.skipped, {}, &Skipped::source);
  if (dataset_.settings.empty()) dataset_.settings.push_back({});
  dataset_.warnings = warnings();
  return std::move(dataset_);
}

}  // namespace kessoku::data
