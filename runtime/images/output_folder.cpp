#include "runtime/images/output_folder.h"

#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "data/images/png.h"

namespace kessoku::runtime {

namespace fs = std::filesystem;

namespace {

/// One more than the highest number that a NNNNN.png of the folder has.
size_t first_free_number(const fs::path& folder) {
  size_t first = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".png") continue;
    const std::string stem = entry.path().stem().string();
    size_t number = 0;
    const auto [stop, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
    if (error == std::errc() && stop == stem.data() + stem.size())
      first = std::max(first, number + 1);
  }
  return first;
}

}  // namespace

OutputFolder::OutputFolder(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error || !fs::is_directory(path_))
    throw UsageError(fmt::format("{}: cannot be made a folder: {}", path_.string(),
                                 error ? error.message() : "a file is in its place"));
  first_ = first_free_number(path_);
}

fs::path OutputFolder::write(const data::Image& image, const GenerationSettings& settings,
                             size_t index) {
  const std::string png = data::encode_png(image, image_text(settings));
  while (true) {
    const fs::path file = path_ / fmt::format("{:05}.png", first_ + index);
    if (write_new_file(file, png)) return file;
    first_ = std::max(first_ + 1, first_free_number(path_));  // another program writes here too
  }
}

fs::path OutputFolder::write_grid(const data::Image& grid) {
  const std::string png = data::encode_png(grid);
  for (size_t number = 0;; ++number) {
    const fs::path file =
        path_ / (number == 0 ? std::string("grid.png") : fmt::format("grid-{}.png", number));
    if (write_new_file(file, png)) return file;
  }
}

data::Image to_image(const at::Tensor& pixels) {
  const at::Tensor bytes = pixels.contiguous();
  const uint8_t* first = bytes.data_ptr<uint8_t>();
  return {bytes.size(1), bytes.size(0), {first, first + bytes.numel()}};
}

}  // namespace kessoku::runtime
