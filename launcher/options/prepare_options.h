#pragma once

#include <cstdint>
#include <string>

#include "data/images/image_limits.h"
#include "launcher/options/model_options.h"

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku prepare` is asked for.
struct PrepareArguments {
  std::string dataset, store, dialect = "everydream2", keep = "moments";
  std::string weights, buckets = "everydream", background = "white";
  int64_t resolution = 512, variants = 1;
  uint64_t most_pixels = data::kMostPixels;
  int threads = 0;
  bool strict = false, captions_only = false, replace = false, json = false;
  ModelOptions model;
};

/// Adds `kessoku prepare` with its options and help to `app`.
CLI::App* declare(CLI::App& app, PrepareArguments& options);

}  // namespace kessoku::launcher
