#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kessoku::runtime {

/// A machine that ranks run on.
struct Host {
  std::string name;
  int slots = 1;  ///< ranks that it takes
  bool operator==(const Host&) const = default;
};

/// "a:4,b:2,c": names with their slots, 1 if not said. Throws UsageError.
std::vector<Host> parse_hosts(const std::string& list);

/// An Open MPI hostfile: a host a line, "name slots=4"; # begins a comment. Throws UsageError
/// naming file and line.
std::vector<Host> read_hostfile(const std::filesystem::path& file);

int slots_of(const std::vector<Host>& hosts);

/// "a:4,b:2".
std::string to_string(const std::vector<Host>& hosts);

/// Those that run `true` by the launch agent ("ssh", or a program that is called as it is) within
/// `seconds`; all are asked at once. This machine always answers.
std::vector<Host> answering_hosts(const std::vector<Host>& hosts, const std::string& agent,
                                  double seconds);

/// Whether `listed` is the name of the host that calls itself `name`: either may be without its
/// domain.
bool is_same_host(const std::string& listed, const std::string& name);

/// The most ranks up to `at_most` that divide the global batch.
int ranks_that_divide(uint64_t global_batch, int at_most);

}  // namespace kessoku::runtime
