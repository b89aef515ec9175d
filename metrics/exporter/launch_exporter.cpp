#include "metrics/exporter/launch_exporter.h"

#include <atomic>

#include "base/version.h"
#include "metrics/exporter/account_series.h"
#include "metrics/exporter/series_registry.h"
#include "metrics/run_follower.h"
#include "metrics/wall_clock.h"

namespace kessoku::metrics {

struct LaunchExporter::Impl {
  Impl(const std::string& name, const std::filesystem::path& run)
      : registry(std::make_shared<SeriesRegistry>(
            prometheus::Labels{{"run", name}, {"rank", "launch"}})),
        follower(run) {}

  prometheus::Gauge& of(const char* name, const char* help, const char* label) {
    return registry->gauge(name, help, {{"of", label}});
  }
  void look(const std::function<NewestCheckpoint()>& checkpoint);

  std::shared_ptr<SeriesRegistry> registry;
  RunFollower follower;
  AccountSeries account{*registry};
  std::atomic<bool> running = false;
  prometheus::Gauge& up = registry->gauge("kessoku_launch_training",
                                          "1 while the ranks are started, 0 between two starts");
  prometheus::Counter& restarts =
      registry->counter("kessoku_launch_restarts_total", "Restarts since launch began");
  prometheus::Gauge& in_vain =
      registry->gauge("kessoku_launch_restarts_in_vain", "Restarts in a row that made no progress");
  prometheus::Gauge& exit_code = registry->gauge(
      "kessoku_launch_last_exit_code", "What the ranks ended with last; -1: they have not yet");
  std::unique_ptr<MetricsServer> server;  // last: it answers while the others live
};

void LaunchExporter::Impl::look(const std::function<NewestCheckpoint()>& checkpoint) {
  follower.poll();
  const AccountEntry& entry = follower.entry();
  if (entry.account.began > 0) {
    const bool alive = running || (entry.ended && entry.complete);
    account.set(alive ? entry.account : entry.account.up_to(seconds_since_1970(), Cause::kDown));
  }
  if (const auto& last = follower.last()) {
    registry->gauge("kessoku_step", "The last step of the run, over all restarts")
        .Set(static_cast<double>(last->step));
    if (last->time > 0) {
      registry->gauge("kessoku_last_step_timestamp_seconds", "When the last step ended, since 1970")
          .Set(last->time);
    }
  }
  const NewestCheckpoint newest = checkpoint();
  if (newest.time == 0) return;
  registry->gauge("kessoku_checkpoint_step", "Step of the newest checkpoint")
      .Set(static_cast<double>(newest.step));
  registry
      ->gauge("kessoku_checkpoint_timestamp_seconds",
              "When the newest checkpoint was complete, since 1970")
      .Set(newest.time);
}

LaunchExporter::LaunchExporter(const ServerOptions& server, const std::string& name,
                               const std::filesystem::path& run,
                               std::function<NewestCheckpoint()> checkpoint)
    : impl_(std::make_unique<Impl>(name, run)) {
  impl_->registry->gauge("kessoku_build_info", "The program; always 1", {{"version", version()}})
      .Set(1);
  impl_->exit_code.Set(-1);
  impl_->registry->before_scrape([this, look = std::move(checkpoint)] { impl_->look(look); });
  impl_->server = std::make_unique<MetricsServer>(server, impl_->registry);
}

LaunchExporter::~LaunchExporter() = default;

int LaunchExporter::port() const { return impl_->server->port(); }

void LaunchExporter::set_ranks(int asked, int used) {
  constexpr const char* kHelp = "Ranks that launch was asked for, and has started";
  impl_->of("kessoku_launch_ranks", kHelp, "asked").Set(asked);
  impl_->of("kessoku_launch_ranks", kHelp, "used").Set(used);
}

void LaunchExporter::set_hosts(int asked, int used) {
  constexpr const char* kHelp = "Hosts that launch was asked for, and uses";
  impl_->of("kessoku_launch_hosts", kHelp, "asked").Set(asked);
  impl_->of("kessoku_launch_hosts", kHelp, "used").Set(used);
}

void LaunchExporter::started() {
  impl_->running = true;
  impl_->up.Set(1);
}

void LaunchExporter::ended(int exit_code) {
  impl_->running = false;
  impl_->up.Set(0);
  impl_->exit_code.Set(exit_code);
}

void LaunchExporter::restarts(int in_vain) {
  impl_->restarts.Increment();
  impl_->in_vain.Set(in_vain);
}

}  // namespace kessoku::metrics
