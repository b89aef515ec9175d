// kessoku-core: hands what the command line asks for over to one file a subcommand, and turns
// exceptions into messages and exit codes. Started by kessoku (start.cpp).
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <exception>
#include <string>
#include <system_error>
#include <type_traits>

#include "base/error.h"
#include "base/system_error.h"
#include "data/images/image.h"
#include "launcher/commands.h"
#include "launcher/options/failure.h"
#include "launcher/out_of_memory.h"

namespace {

using kessoku::ExitCode;
using kessoku::launcher::Command;
using kessoku::launcher::fail;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

ExitCode run(const Command& command) {
  return std::visit(
      [](const auto& options) {
        if constexpr (std::is_void_v<decltype(kessoku::launcher::run(options))>) {
          kessoku::launcher::run(options);
          return ExitCode::kDone;
        } else {
          return kessoku::launcher::run(options);
        }
      },
      command);
}

/// LibTorch's own allocator and the standard library's throw different things.
int fail_unexpectedly(const std::exception& error, const std::string& reason,
                      const std::string& command) {
  if (kessoku::is_machine_failure(error)) {
    return fail(ExitCode::kCannotWrite,
                kessoku::launcher::explain_out_of_memory(command, first_line(reason)));
  }
  return fail(ExitCode::kInternal, fmt::format("internal error: {}", reason));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    int exit_code = 0;
    const std::optional<Command> command =
        kessoku::launcher::parse_command_line(argc, argv, exit_code);
    if (!command) return exit_code;
    kessoku::data::initialize_images(argv[0], 1);
    return static_cast<int>(run(*command));
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
    return fail_unexpectedly(error, error.what_without_backtrace(), argc > 1 ? argv[1] : "");
  } catch (const std::exception& error) {
    return fail_unexpectedly(error, error.what(), argc > 1 ? argv[1] : "");
  }
}
