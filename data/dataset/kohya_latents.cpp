#include "data/dataset/kohya_latents.h"

#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/system_error.h"
#include "data/captions/caption.h"
#include "data/documents/npz.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kLargest = 4096 / kKohyaDownscale;

/// "_0512x0768_sd.npz", behind the image's stem: its size, and Stable Diffusion 1.x or 2.x.
bool is_size_suffix(std::string_view suffix) {
  constexpr std::string_view kEnd = "_sd.npz";
  if (!suffix.starts_with('_') || !suffix.ends_with(kEnd) || suffix.size() < kEnd.size() + 2)
    return false;
  suffix = suffix.substr(1, suffix.size() - 1 - kEnd.size());
  const size_t x = suffix.find('x');
  if (x == suffix.npos || x < 4 || suffix.size() - x - 1 < 4) return false;
  for (size_t i = 0; i < suffix.size(); ++i) {
    if (i != x && (suffix[i] < '0' || suffix[i] > '9')) return false;
  }
  return true;
}

/// All that belong to the image. A file of the old name alone counts, as in kohya's scripts.
std::vector<std::string> find_files(const std::vector<std::string>& files,
                                    const std::string& stem) {
  const std::string old_name = stem + ".npz";
  if (std::ranges::binary_search(files, old_name)) return {old_name};
  std::vector<std::string> found;
  const std::string prefix = stem + "_";
  for (auto file = std::ranges::lower_bound(files, prefix);
       file != files.end() && file->starts_with(prefix); ++file) {
    if (is_size_suffix(std::string_view(*file).substr(stem.size()))) found.push_back(*file);
  }
  return found;
}

/// (h, w) of the latents.
std::pair<int64_t, int64_t> check_shape(const fs::path& path, const std::vector<int64_t>& shape) {
  const auto side = [](int64_t size) { return size >= 1 && size <= kLargest; };
  if (shape.size() == 3 && shape[0] == kKohyaChannels && side(shape[1]) && side(shape[2]))
    return {shape[1], shape[2]};
  throw DataError(fmt::format("{}: latents of shape ({}), not (4, height/8, width/8)",
                              path.string(), fmt::join(shape, ", ")));
}

}  // namespace

void add_kohya_latents(DatasetBuilder& builder, const std::vector<std::string>& files,
                       Example& example) {
  const fs::path image = example.source;
  const std::vector<std::string> found = find_files(files, stem_of(image.filename().string()));
  if (found.empty()) return;
  const fs::path latents = image.parent_path() / found[0];
  if (found.size() > 1) {
    builder.warn(latents.string(), "latents of several sizes for one image, none is used");
    return;
  }
  const fs::path path = builder.root() / latents;
  if (fs::last_write_time(path) < fs::last_write_time(builder.root() / image)) {
    builder.warn(latents.string(), "latents older than their image, not used");
    return;
  }
  try {
    const auto [height, width] = check_shape(path, NpzFile(path).shape("latents"));
    example.latents = latents.string();
    example.size = Bucket{width * kKohyaDownscale, height * kKohyaDownscale};
  } catch (const SystemError&) {
    throw;
  } catch (const Error& problem) {
    std::string what = problem.what();
    if (what.starts_with(path.string())) what.erase(0, path.string().size() + 2);
    builder.warn(latents.string(), "latents not used: " + what);
  }
}

at::Tensor read_kohya_latents(const fs::path& path) {
  const NpzFile file(path);
  check_shape(path, file.shape("latents"));
  const at::Tensor latents = file.read("latents");
  if (!at::isfinite(latents.to(at::kHalf)).all().item<bool>())
    throw DataError(fmt::format("{}: latents hold numbers beyond half precision", path.string()));
  return latents;
}

}  // namespace kessoku::data
