#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace kessoku::runtime {

/// What a verification found to differ.
struct BitDifference {
  std::string what;        ///< "weights in unet.conv_in.weight", "learning rate", …
  std::vector<int> ranks;  ///< one, if it is known which is wrong, else those that differ
  bool operator==(const BitDifference&) const = default;
};

/// A rank holds or computes other bits than it should (exit code 77). Thrown on all ranks alike.
class WrongBits : public Error {
 public:
  /// `step`: after which it was found. `hosts`: of `difference.ranks`, in their order.
  WrongBits(uint64_t step, BitDifference difference, std::vector<std::string> hosts);
  uint64_t step() const { return step_; }
  const BitDifference& difference() const { return difference_; }
  const std::vector<std::string>& hosts() const { return hosts_; }

 private:
  uint64_t step_;
  BitDifference difference_;
  std::vector<std::string> hosts_;
};

/// Appends a line about `error` to differences.jsonl of the run folder: step, what, ranks, hosts.
void record_difference(const std::filesystem::path& run, const WrongBits& error);

/// For each line of that file, in order, the host that is at fault, empty where it is not known.
/// Lines that cannot be read count as such.
std::vector<std::string> recorded_differences(const std::filesystem::path& run);

}  // namespace kessoku::runtime
