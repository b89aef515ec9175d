#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace kessoku::data {

/// How draws become batches, as a run file says.
struct LoaderSettings {
  double caption_dropout = 0;  ///< probability of the empty caption; the dataset may override it
  std::vector<std::pair<std::string, std::string>> caption_rename;  ///< whole words, in order
  bool shuffle_tags = false;  ///< of all captions; else where the dataset asks for it
  int64_t keep_tags = 0;      ///< tags behind the main prompt that are not shuffled
  double flip = 0;  ///< probability of a mirrored image; needs images or mirrored variants in the
                    ///< store; the dataset may override it
  int64_t threads = 2;    ///< that read ahead
  uint64_t prefetch = 4;  ///< batches ready at most
};

}  // namespace kessoku::data
