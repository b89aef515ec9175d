// kessoku: fine-tunes Stable Diffusion 1.x on many GPUs or none. Parses the command line and hands
// over to one file a subcommand.
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/version.h"
#include "data/images/image.h"
#include "launcher/commands.h"
#include "launcher/revision.h"

namespace {

using kessoku::ExitCode;

int fail(ExitCode code, const std::string& message) {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  fmt::print(stderr, "kessoku{}: {}\n", rank ? fmt::format(" (rank {})", rank) : "", message);
  return static_cast<int>(code);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// Threads of a parallel loop that wait for each other spin first, by OpenMP's default so long that
/// a machine with other work crawls: beside two busy processes an image took over 15 s instead of
/// 1; with this limit it takes 2.5, and alone as long as before. OpenMP reads it as the program is
/// loaded: hence a second start.
void limit_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "5000", 0);
  ::execv("/proc/self/exe", argv);  // comes back only if it cannot: then all is as it was
}

/// CLI11 would only say that a subcommand is missing.
void require_known_subcommand(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (word.starts_with("-") || std::find(names.begin(), names.end(), word) != names.end()) return;
  const std::string nearest = kessoku::nearest_word(word, names);
  throw kessoku::UsageError(fmt::format("there is no subcommand {}; {}", word,
                                        nearest.empty()
                                            ? fmt::format("there are {}", fmt::join(names, ", "))
                                            : fmt::format("did you mean {}?", nearest)));
}

}  // namespace

int main(int argc, char** argv) {
  limit_spinning(argv);
  spdlog::set_default_logger(spdlog::stderr_color_mt("kessoku"));
  spdlog::set_pattern("%^%l%$: %v");

  CLI::App app("Fine-tunes Stable Diffusion 1.x on many GPUs or none.", "kessoku");
  app.set_version_flag("--version", fmt::format("kessoku {} ({})", kessoku::version(),
                                                kessoku::launcher::revision()));
  app.require_subcommand(1);
  app.footer(
      "Example: kessoku train configs/demo.toml\nEvery subcommand has --help with an example.");
  kessoku::launcher::add_init_command(app);
  kessoku::launcher::add_prepare_command(app);
  kessoku::launcher::add_inspect_command(app);
  kessoku::launcher::add_keys_command(app);
  kessoku::launcher::add_plan_command(app);
  ExitCode result = ExitCode::kDone;
  kessoku::launcher::add_train_command(app, result);
  kessoku::launcher::add_launch_command(app, result);
  kessoku::launcher::add_sample_command(app, result);
  kessoku::launcher::add_forward_command(app);
  kessoku::launcher::add_convert_command(app);
  kessoku::launcher::add_tokens_command(app);
  kessoku::launcher::add_report_command(app);

  try {
    kessoku::data::initialize_images(argv[0], 1);
    if (argc > 1) require_known_subcommand(app, argv[1]);
    app.parse(argc, argv);
    return static_cast<int>(result);
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    return fail(ExitCode::kUsage, fmt::format("{} (see kessoku --help)", error.what()));
  } catch (const kessoku::Error& error) {
    return fail(error.exit_code(), error.what());
  } catch (const std::system_error& error) {  // of a file, or a thread that cannot be started
    return fail(ExitCode::kCannotWrite, error.what());
  } catch (const c10::OutOfMemoryError& error) {
    return fail(ExitCode::kUsage,
                fmt::format("{}; lower train.micro_batch (the global batch stays), or set "
                            "train.gradient_checkpointing or train.precision = \"bf16\"",
                            first_line(error.what_without_backtrace())));
  } catch (const c10::AcceleratorError& error) {  // a GPU is lost, or a kernel went wrong
    return fail(ExitCode::kWatchdog, first_line(error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    return fail(ExitCode::kInternal,
                fmt::format("internal error: {}", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return fail(ExitCode::kInternal, fmt::format("internal error: {}", error.what()));
  }
}
