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
#include "base/text.h"
#include "data/images/image.h"
#include "launcher/commands.h"
#include "launcher/options/failure.h"
#include "launcher/scarcity.h"
#include "runtime/communication/communicator.h"

namespace {

using kessoku::ExitCode;
using kessoku::first_line;
using kessoku::launcher::Command;
using kessoku::launcher::fail;

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

/// Of a file, which it names, or a thread that could not be started.
std::string reason_of(const std::system_error& error) {
  if (error.code() != std::errc::resource_unavailable_try_again) return error.what();
  return fmt::format("cannot start a thread: {}", error.code().message());
}

/// The exit code; what went wrong is on stderr.
int run_and_explain(int argc, char** argv) {
  const std::string subcommand = argc > 1 ? argv[1] : "";
  const auto fail_by_machine = [&](ExitCode code, const std::string& reason) {
    return fail(code, kessoku::launcher::explain_scarcity(subcommand, first_line(reason)));
  };
  const auto fail_unexpectedly = [&](const std::exception& error, const std::string& reason) {
    if (kessoku::is_machine_failure(error)) return fail_by_machine(ExitCode::kCannotWrite, reason);
    return fail(ExitCode::kInternal, "internal error: " + reason);
  };
  try {
    int exit_code = 0;
    const std::optional<Command> command =
        kessoku::launcher::parse_command_line(argc, argv, exit_code);
    if (!command) return exit_code;
    kessoku::data::initialize_images(argv[0], 1);
    return static_cast<int>(run(*command));
  } catch (const kessoku::Error& error) {
    return error.exit_code() == ExitCode::kCannotWrite
               ? fail_by_machine(error.exit_code(), error.what())
               : fail(error.exit_code(), error.what());
  } catch (const std::system_error& error) {
    return fail_by_machine(ExitCode::kCannotWrite, reason_of(error));
  } catch (const c10::OutOfMemoryError& error) {  // of a GPU
    return fail_by_machine(ExitCode::kUsage, error.what_without_backtrace());
  } catch (const c10::AcceleratorError& error) {  // a GPU is lost, or a kernel went wrong
    return fail(ExitCode::kWatchdog, first_line(error.what_without_backtrace()));
  } catch (const c10::Error& error) {  // LibTorch's own allocator throws it too
    return fail_unexpectedly(error, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return fail_unexpectedly(error, error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int exit_code = run_and_explain(argc, argv);
  if (exit_code != 0) kessoku::runtime::leave_together(1);
  return exit_code;
}
