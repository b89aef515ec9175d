#include "runtime/supervision/supervisor.h"

#define OMPI_SKIP_MPICXX 1  // as in mpi_communicator.cpp
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process/stderr_line.h"
#include "metrics/exporter/launch_exporter.h"
#include "runtime/checkpoint/memory_folder.h"
#include "runtime/checkpoint/resume_changes.h"
#include "runtime/config/config.h"
#include "runtime/run/run_folder.h"
#include "runtime/run/run_monitor.h"
#include "runtime/supervision/child_process.h"
#include "runtime/supervision/host_list.h"
#include "runtime/supervision/restart_policy.h"
#include "runtime/supervision/stop_signal.h"
#include "runtime/supervision/watchdog.h"
#include "runtime/verification/wrong_bits.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void say(const std::string& text) { write_line("launch: " + text); }

/// SIGINT, SIGTERM and SIGUSR1, which this process only takes when it asks for them.
class StopRequests {
 public:
  StopRequests() {
    ::sigaddset(&signals_, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &signals_, nullptr);
  }
  /// Waits up to `seconds` for one, which is counted, or, if asked for, until a child has ended.
  bool wait(double seconds, bool or_for_child = false) {
    const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                     std::chrono::duration<double>(seconds));
    while (true) {
      const double left = std::max(0.0, -seconds_since(end));
      const auto whole = static_cast<time_t>(left);
      const timespec pause{whole, static_cast<long>((left - static_cast<double>(whole)) * 1e9)};
      const int signal = ::sigtimedwait(&signals_, nullptr, &pause);
      if (signal == SIGCHLD && !or_for_child) continue;
      if (signal <= 0 || signal == SIGCHLD) return false;
      ++count_;
      return true;
    }
  }
  int count() const { return count_; }

 private:
  sigset_t signals_ = stop_signals();
  int count_ = 0;
};

/// How long a run has shown no sign of life (a record, an image, a checkpoint's file), by a clock
/// that nobody sets.
class Silence {
 public:
  explicit Silence(fs::path run) : run_(std::move(run)), signs_(signs()) {}
  double seconds() {
    if (signs() != signs_) {
      signs_ = signs();
      since_ = Clock::now();
    }
    return seconds_since(since_);
  }

 private:
  std::vector<fs::file_time_type> signs() const {
    std::vector<fs::file_time_type> times;
    std::error_code absent;
    for (const char* name : {"log.jsonl", "samples", "checkpoints"})
      times.push_back(fs::last_write_time(run_ / name, absent));
    return times;
  }

  fs::path run_;
  std::vector<fs::file_time_type> signs_;
  Clock::time_point since_ = Clock::now();
};

/// mpirun then notices within 40 s that a host is gone, and not after hours; and when a rank has
/// died it ends the others at once, not after a second each: ranks that end by themselves wait for
/// each other (leave_together). What the user has set stays.
void hasten_failures() {
  ::setenv("OMPI_MCA_odls_base_sigkill_timeout", "0", 0);
  ::setenv("OMPI_MCA_oob_tcp_keepalive_time", "20", 0);
  ::setenv("OMPI_MCA_oob_tcp_keepalive_intvl", "5", 0);
  ::setenv("OMPI_MCA_oob_tcp_keepalive_probes", "4", 0);
}

/// The environment variables that ranks on other hosts would lack: NCCL's and the program's own.
std::vector<std::string> variables_for_ranks() {
  std::vector<std::string> names;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (text.starts_with("NCCL_") || text.starts_with("KESSOKU_"))
      names.emplace_back(text.substr(0, text.find('=')));
  }
  std::ranges::sort(names);
  return names;
}

/// Neighboring ranks on one node, in the words of Open MPI 4 and of later ones.
constexpr const char* kRankBy = OMPI_MAJOR_VERSION < 5 ? "numa:fill" : "fill";

/// Seconds that mpirun has to end after a rank's watchdog has reported.
constexpr double kAfterReport = 30;

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options)
      : options_(options),
        config_(load_config(options.run_file, options.overrides)),
        run_(run_path(config_, options.out)),
        hosts_(all_hosts()),
        differences_(recorded_differences(run_).size()) {
    check_allowed_changes(options.allowed_changes);
  }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor() {
    std::error_code ignored;
    if (exporter_) fs::remove(targets_file(), ignored);
  }

  int run() {
    adopt_orphans();
    hasten_failures();
    // Within a host there is nothing for the drivers of networks to do, which MPI_Init would load.
    if (hosts_.empty() && std::getenv("SLURM_JOB_ID") == nullptr)
      ::setenv("OMPI_MCA_pml", "ob1", 0);
    ::setenv(kSupervised, "1", 1);
    if (!options_.dry_run) serve_metrics();
    RestartPolicy policy(options_.patience, options_.backoff, 60, progress_of(run_));
    while (true) {
      const std::vector<std::string> command = next_command();
      say(fmt::format("{}", fmt::join(command, " ")));
      if (options_.dry_run) return 0;
      if (exporter_) exporter_->started();
      const int code = run_once(command);
      if (exporter_) exporter_->ended(code);
      if (code == 0) return code;
      if (requests_.count() > 0) return stopped(code);
      if (!is_worth_restarting(code)) {
        say(fmt::format("ended with {}: {}", code,
                        code == static_cast<int>(ExitCode::kStopped)
                            ? "stopped, with a checkpoint; the same command resumes"
                            : "not restarting: the error would recur"));
        return code;
      }
      const RunProgress now = progress_of(run_);
      std::optional<double> wait = policy.after_failure(now);
      // Without the host that was at fault a restart gains what the last one could not.
      if (exclude_faulty_host() && !wait) wait = options_.backoff;
      if (!wait) {
        say(fmt::format(
            "ended with {} at step {}, and the last restart made no progress: giving up. The "
            "newest checkpoint is of step {}",
            code, now.step, now.checkpoint));
        return code;
      }
      say(fmt::format("ended with {} at step {}; restarting from {}{}", code, now.step,
                      place_of(now), *wait > 0 ? fmt::format(" in {} s", *wait) : ""));
      if (exporter_) exporter_->restarts(policy.in_vain());
      if (requests_.wait(*wait)) return stopped(code);
      first_start_ = false;
    }
  }

 private:
  /// What a restart resumes from, as far as this host knows.
  std::string place_of(const RunProgress& progress) const {
    const uint64_t step = newest_memory_step(memory_folder_of(config_, run_));
    if (step > progress.checkpoint) return fmt::format("step {}, which is in memory", step);
    return (progress.checkpoint == 0
                ? "the beginning"
                : fmt::format("the checkpoint of step {}", progress.checkpoint)) +
           (hosts_.size() > 1 ? ", or from what the hosts' memory has of a later step" : "");
  }

  std::vector<Host> all_hosts() const {
    if (!options_.hosts.empty() && !options_.hostfile.empty())
      throw UsageError("--hosts and --hostfile say the same thing: give one of them");
    if (!options_.hostfile.empty()) return read_hostfile(options_.hostfile);
    return parse_hosts(options_.hosts);
  }

  fs::path targets_file() const { return launch_targets(run_ / config_.metrics.file_sd); }

  void serve_metrics() {
    if (config_.metrics.port < 0 || config_.metrics.launch_port < 0) return;
    exporter_ = std::make_unique<metrics::LaunchExporter>(
        server_options(config_, config_.metrics.launch_port), config_.name, run_,
        [run = run_] { return newest_checkpoint(run); });
    const nlohmann::json targets = nlohmann::json::array(
        {scrape_target(config_, scrape_address(config_, exporter_->port()), "launch")});
    fs::create_directories(targets_file().parent_path());
    write_file_atomically(targets_file(), targets.dump(1) + "\n");
  }

  void tell_ranks(int ranks, const std::vector<Host>& present) {
    if (!exporter_) return;
    exporter_->set_ranks(options_.ranks > 0 ? options_.ranks : std::max(ranks, slots_of(hosts_)),
                         ranks);
    if (!hosts_.empty())
      exporter_->set_hosts(static_cast<int>(hosts_.size()), static_cast<int>(present.size()));
  }

  /// mpirun with what answers of the hosts now.
  std::vector<std::string> next_command() {
    std::vector<std::string> command{options_.mpirun};
    const auto add = [&](std::initializer_list<std::string> words) {
      command.insert(command.end(), words);
    };
    if (::geteuid() == 0) add({"--allow-run-as-root"});
    int ranks = options_.ranks;
    std::vector<Host> present;
    if (!hosts_.empty()) {
      present = present_hosts();
      ranks = ranks_on(present);
      add({"--host", to_string(present)});
      if (options_.agent != "ssh") add({"--mca", "plm_rsh_agent", options_.agent});
    } else if (ranks == 0 && std::getenv("SLURM_JOB_ID") == nullptr) {
      ranks = 1;
    }
    require_even_share(ranks);
    tell_ranks(ranks, present);
    // In a Slurm job mpirun itself knows hosts and slots.
    if (ranks > 0) add({"-n", std::to_string(ranks)});
    // Ranks share a host's cores by their thread counts; the kernel places threads well on one NUMA
    // node, and knows nothing of several. Neighboring ranks belong on one node: so do the GPUs of
    // neighboring numbers, mostly.
    if (fs::exists("/sys/devices/system/node/node1")) {
      add({"--bind-to", "numa", "--map-by", "numa:oversubscribe", "--rank-by", kRankBy});
    } else {
      add({"--bind-to", "none", "--oversubscribe"});
    }
    for (const std::string& name : variables_for_ranks()) add({"-x", name});
    command.insert(command.end(), options_.mpi_options.begin(), options_.mpi_options.end());
    add({options_.program, "train", options_.run_file, "--out", run_.string(), "--resume",
         first_start_ ? options_.resume : "memory"});
    if (log_format() == LogFormat::kJson) add({"--log-format", "json"});
    for (const std::string& setting : options_.overrides) add({"--set", setting});
    for (const std::string& key : options_.allowed_changes) add({"--allow-change", key});
    return command;
  }

  /// Excludes the host that was named twice as the one with wrong bits, the last time just now.
  bool exclude_faulty_host() {
    const std::vector<std::string> named = recorded_differences(run_);
    if (named.size() <= differences_) return false;
    differences_ = named.size();
    const std::string& host = named.back();
    if (host.empty() || ++faults_[host] < 2) return false;
    const auto found = std::ranges::find_if(
        hosts_, [&](const Host& each) { return is_same_host(each.name, host); });
    if (found == hosts_.end() || excluded_.size() + 1 >= hosts_.size()) {
      say(fmt::format("host {} had wrong bits again, and there is no other host", host));
      return false;
    }
    say(fmt::format("host {} had wrong bits again: continuing without it", host));
    return excluded_.insert(found->name).second;
  }

  std::vector<Host> present_hosts() const {
    std::vector<Host> present = answering_hosts(hosts_, options_.agent, options_.host_timeout);
    std::erase_if(present, [this](const Host& host) { return excluded_.contains(host.name); });
    if (present.empty()) {
      throw UsageError(fmt::format("none of {} answers to \"{} HOST true\" within {} s",
                                   to_string(hosts_), options_.agent, options_.host_timeout));
    }
    for (const Host& host : hosts_) {
      if (std::ranges::find(present, host) == present.end() && !excluded_.contains(host.name))
        say(fmt::format("host {} does not answer: continuing without it", host.name));
    }
    return present;
  }

  int ranks_on(const std::vector<Host>& present) const {
    const int slots = slots_of(present);
    const int asked = options_.ranks > 0 ? options_.ranks : slots_of(hosts_);
    if (present.size() == hosts_.size()) return asked;
    const int ranks = ranks_that_divide(config_.train.global_batch, std::min(asked, slots));
    if (ranks != asked) {
      say(fmt::format("{} ranks instead of {}, at the same global batch of {}", ranks, asked,
                      config_.train.global_batch));
    }
    return ranks;
  }

  /// Throws UsageError where the ranks would only find out when they have started. 0 ranks: not
  /// known here.
  void require_even_share(int ranks) const {
    const uint64_t draws = config_.train.global_batch;
    const int most = ranks_that_divide(draws, ranks);
    if (most == ranks) return;
    throw UsageError(
        fmt::format("{} ranks cannot share train.global_batch = {} draws evenly: use -n {}, or a "
                    "global batch that is a multiple of {}",
                    ranks, draws, most, ranks));
  }

  /// The exit code of mpirun, whose ranks are gone by then.
  int run_once(const std::vector<std::string>& command) {
    set_aside_watchdog_reports(run_);  // of the start before
    ChildProcess child(command);
    Silence silence(run_);
    std::optional<Clock::time_point> reported;
    bool hung = false;
    while (!child.poll()) {
      if (requests_.wait(0.1, /*or_for_child=*/true)) pass_on(child);
      if (options_.heartbeat > 0 && silence.seconds() > options_.heartbeat) {
        say(fmt::format("no progress in {} s: terminating", options_.heartbeat));
        hung = true;
      } else if (!reported && has_watchdog_reports(run_)) {
        reported = Clock::now();
      } else if (reported && seconds_since(*reported) > kAfterReport) {
        say("the ranks have given up, but mpirun does not end: terminating it");
        hung = true;
      }
      if (hung) end(child);
    }
    // Ranks whose mpirun was killed end late or never; what Slurm started ends by itself, soon.
    const int left = end_orphans(child.killed() ? 0 : 3);
    if (left > 0) say(fmt::format("killed {} processes that mpirun had left behind", left));
    return hung ? static_cast<int>(ExitCode::kWatchdog) : *child.poll();
  }

  /// mpirun hands SIGUSR1 on to the ranks, which stop with a checkpoint; on any other signal it
  /// would kill them after a second. Asked again, this is wanted.
  void pass_on(ChildProcess& child) const {
    if (requests_.count() == 1) {
      say("asking the ranks to stop with a checkpoint; a second signal ends them at once");
      child.signal(SIGUSR1);
    } else {
      end(child);
    }
  }

  /// It gets some seconds to end its ranks on other hosts; for hosts that are gone it would wait
  /// for ever.
  void end(ChildProcess& child) const {
    child.signal(SIGTERM);
    for (int i = 0; i < 100 && !child.poll(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    child.signal(SIGKILL);
    while (!child.poll()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

  /// Asked to stop. What had ended otherwise goes on from its checkpoint all the same.
  int stopped(int code) const {
    const int wanted = static_cast<int>(ExitCode::kStopped);
    if (code != wanted && !is_worth_restarting(code)) return code;
    if (code != wanted) {
      say(fmt::format(
          "ended with {} instead of a checkpoint at its last step; the newest one is of "
          "step {}",
          code, progress_of(run_).checkpoint));
    }
    return wanted;
  }

  SupervisorOptions options_;
  RunConfig config_;
  fs::path run_;
  std::vector<Host> hosts_;
  StopRequests requests_;
  size_t differences_;                 ///< of the run that are known
  std::map<std::string, int> faults_;  ///< how often each host was named, since this began
  std::set<std::string> excluded_;     ///< names in hosts_
  std::unique_ptr<metrics::LaunchExporter> exporter_;
  bool first_start_ = true;
};

}  // namespace

int supervise(const SupervisorOptions& options) { return Supervisor(options).run(); }

}  // namespace kessoku::runtime
