// kessoku: fine-tunes Stable Diffusion 1.x on many GPUs or none. Answers what the command line
// alone decides, then becomes kessoku-core, which lies beside it and loads LibTorch.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "launcher/options/command_line.h"
#include "launcher/options/failure.h"

namespace {

/// Threads of a parallel loop that wait for each other spin first, by OpenMP's default so long that
/// a machine with other work crawls: beside two busy processes an image took over 15 s instead of
/// 1; with this limit it takes 2.5, and alone as long as before. OpenMP reads it as it is loaded.
void limit_spinning() {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "5000", 0);
}

/// Lets the C library ask for huge pages: fresh tensors then take a 512th of the page faults, which
/// makes a training step some 3 % shorter. glibc reads it as it is loaded; before 2.35 it does not
/// know the word.
void ask_for_huge_pages() { ::setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0); }

/// Does not return unless it fails.
int become_core(char** argv) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path core = self.parent_path() / "kessoku-core";
  if (!error) {
    ::execv(core.c_str(), argv);
    error = {errno, std::generic_category()};
  }
  return kessoku::launcher::fail(
      kessoku::ExitCode::kInternal,
      fmt::format("cannot start {}: {}; it must lie in the folder of kessoku", core.string(),
                  error.message()));
}

}  // namespace

int main(int argc, char** argv) {
  int exit_code = 0;
  if (!kessoku::launcher::parse_command_line(argc, argv, exit_code)) return exit_code;
  limit_spinning();
  ask_for_huge_pages();
  return become_core(argv);
}
