#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kessoku::metrics {

/// A series of a page of metrics, and its value.
struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

/// The samples of a page in Prometheus' text format. Lines that are none are left out.
std::vector<Sample> parse_samples(std::string_view page);

/// What a server said. `status` is HTTP's, 0 if it has not answered.
struct ScrapeAnswer {
  int status = 0;
  std::string page;
};

/// GET /metrics of all `addresses` ("HOST:PORT") at the same time, in their order. Those that take
/// longer than `seconds` have not answered. `login` is USER:PASSWORD, or empty.
std::vector<ScrapeAnswer> fetch_metrics(const std::vector<std::string>& addresses,
                                        const std::string& login, double seconds);

}  // namespace kessoku::metrics
