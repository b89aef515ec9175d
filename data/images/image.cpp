#include "data/images/image.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <vips/vips8>
// After vips8, which brings what it needs.
#include <vips/vector.h>

#include "base/error.h"
#include "base/file.h"
#include "data/images/fit_image.h"

namespace kessoku::data {

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 30;

}  // namespace

Image decode_image(std::string_view encoded, const std::string& name, uint8_t background) {
  const c10::InferenceMode no_autograd;
  try {
    const ImageFile file(encoded, kMostPixels);
    const at::Tensor pixels = file.decode(1, {background, background, background});
    return to_image(file.turn().apply(file.to_srgb(pixels)));
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", name, error.what()));
  }
}

std::string read_image_file(const std::filesystem::path& path) {
  return read_file(path, kMostBytes);
}

void initialize_images(const char* program, int threads) {
  if (VIPS_INIT(program) != 0) throw Error(ExitCode::kInternal, "libvips does not start");
  // What matters of libvips' warnings comes back as an error with the file's name.
  g_log_set_handler(
      "VIPS", G_LOG_LEVEL_WARNING, [](const char*, GLogLevelFlags, const char*, void*) {}, nullptr);
  // Orc frees the code that it compiles without a lock (seen with 0.4.33): two images at once could
  // crash. Without it pixels are also the same on every processor.
  vips_vector_set_enabled(FALSE);
  vips_concurrency_set(threads);
  vips_cache_set_max(0);  // no operation is asked for twice
}

}  // namespace kessoku::data
