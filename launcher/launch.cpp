#include "base/log.h"
#include "launcher/check_run.h"
#include "launcher/commands.h"
#include "runtime/supervision/supervisor.h"

namespace kessoku::launcher {

ExitCode run(const runtime::SupervisorOptions& asked) {
  runtime::SupervisorOptions options = asked;
  options.program =
      (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "kessoku").string();
  std::vector<std::string> warnings;
  if (options.dry_run)
    warnings = check_run(runtime::load_config(options.run_file, options.overrides));
  const auto result = static_cast<ExitCode>(runtime::supervise(options));
  for (const std::string& warning : warnings) write_warning(warning);
  return result;
}

}  // namespace kessoku::launcher
