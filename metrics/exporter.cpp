#include "metrics/exporter.h"

#include <netdb.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/version.h"

namespace kessoku::metrics {

namespace {

// From a tiny model's step to one that writes a checkpoint.
const prometheus::Histogram::BucketBoundaries kStepSeconds = {
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};

std::unique_ptr<prometheus::Exposer> listen_on(const std::string& address, int port) {
  const bool ipv6 = address.find(':') != std::string::npos && address.front() != '[';
  const std::string place =
      ipv6 ? fmt::format("[{}]:{}", address, port) : fmt::format("{}:{}", address, port);
  if (port < 0 || port > 65535) {
    throw UsageError(fmt::format("metrics.port: {} is no port; give 0 to 65535", port));
  }
  try {
    return std::make_unique<prometheus::Exposer>(place);
  } catch (const std::exception& error) {
    throw UsageError(fmt::format(
        "metrics: cannot listen on {} ({}); set metrics.address to one of this machine's "
        "and metrics.port to a free port, or to 0 for any",
        place, error.what()));
  }
}

void knock(const std::string& address, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* place = nullptr;
  if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &place) != 0) return;
  const int connection = ::socket(place->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection >= 0) {
    ::connect(connection, place->ai_addr, place->ai_addrlen);
    ::close(connection);
  }
  ::freeaddrinfo(place);
}

/// Ends the server at once: left alone, civetweb looks every two seconds whether it shall stop,
/// else when somebody connects.
void stop(std::unique_ptr<prometheus::Exposer> exposer, const std::string& address) {
  const int port = exposer->GetListeningPorts().at(0);
  const std::jthread visitor([&](const std::stop_token& gone) {
    while (!gone.stop_requested()) {
      knock(address, port);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  exposer.reset();
}

/// Brings a counter to `value`; a counter cannot go down, and one that is fed NaN never recovers.
void raise_to(prometheus::Counter& counter, double value) {
  if (value > counter.Value()) counter.Increment(value - counter.Value());
}

}  // namespace

struct Exporter::Impl {
  Impl(std::string bind_address, int bound_port, prometheus::Labels constant_labels, bool leads)
      : address(std::move(bind_address)),
        labels(std::move(constant_labels)),
        whole_run(leads),
        exposer(listen_on(address, bound_port)) {
    for (size_t i = 0; i < kPhases; ++i) {
      phase_seconds[i] = &counter("kessoku_phase_seconds_total", "Time spent, by phase of a step",
                                  {{"phase", to_string(static_cast<Phase>(i))}});
    }
  }

  prometheus::Gauge& gauge(const char* name, const char* help, const prometheus::Labels& own = {}) {
    return prometheus::BuildGauge().Name(name).Help(help).Labels(labels).Register(*registry).Add(
        own);
  }
  prometheus::Counter& counter(const char* name, const char* help,
                               const prometheus::Labels& own = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Labels(labels).Register(*registry).Add(
        own);
  }

  void observe_run(const StepRecord& record);

  // The registry outlives the server, which holds it weakly and is torn down first.
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::string address;
  prometheus::Labels labels;
  bool whole_run;
  prometheus::Counter& steps = counter("kessoku_steps_total", "Optimizer steps of the run so far");
  prometheus::Histogram& step_seconds = prometheus::BuildHistogram()
                                            .Name("kessoku_step_duration_seconds")
                                            .Help("Wall-clock time of a step")
                                            .Labels(labels)
                                            .Register(*registry)
                                            .Add({}, kStepSeconds);
  prometheus::Gauge& last_step =
      gauge("kessoku_last_step_timestamp_seconds",
            "When the last step ended (at first: when the rank began), since 1970");
  std::array<prometheus::Counter*, kPhases> phase_seconds{};
  std::map<std::string, prometheus::Counter*> category_draws;
  std::unique_ptr<prometheus::Exposer> exposer;
};

void Exporter::Impl::observe_run(const StepRecord& record) {
  raise_to(counter("kessoku_draws_total", "Draws of the run so far"),
           static_cast<double>(record.draws));
  for (const StepNumber& number : kStepNumbers)
    gauge(number.gauge, number.help).Set(record.*number.value);
  if (record.validation_loss) {
    gauge("kessoku_validation_loss",
          "Mean loss of the examples that are held out, when last measured")
        .Set(*record.validation_loss);
  }
  counter("kessoku_verifications_total",
          "Steps since this process began after which ranks compared their bits")
      .Increment(record.verified ? 1 : 0);
  counter("kessoku_bad_rows_total",
          "Draws since this process began whose row was damaged and that other images took")
      .Increment(static_cast<double>(record.bad_rows));
  for (const auto& [name, draws] : record.category_draws) {
    prometheus::Counter*& drawn = category_draws[name];
    if (drawn == nullptr) {
      drawn = &counter("kessoku_category_draws_total",
                       "Draws since this process began, by top-level folder", {{"category", name}});
    }
    drawn->Increment(static_cast<double>(draws));
  }
}

Exporter::Exporter(const std::string& address, int port, const std::string& run, int rank,
                   int world_size, uint64_t total_steps)
    : impl_(std::make_unique<Impl>(address, port,
                                   prometheus::Labels{{"run", run}, {"rank", std::to_string(rank)}},
                                   rank == 0)) {
  impl_->gauge("kessoku_build_info", "The program; always 1", {{"version", version()}}).Set(1);
  if (impl_->whole_run) {
    impl_->gauge("kessoku_world_size", "Ranks of the run").Set(world_size);
    impl_->gauge("kessoku_planned_steps", "Steps that the run shall have at its end")
        .Set(static_cast<double>(total_steps));
  }
  impl_->last_step.SetToCurrentTime();
  impl_->exposer->RegisterCollectable(impl_->registry);
}

Exporter::~Exporter() { stop(std::move(impl_->exposer), impl_->address); }

void Exporter::set_differences(size_t count) {
  raise_to(impl_->counter("kessoku_verification_differences_total",
                          "Verifications of the run that found wrong bits"),
           static_cast<double>(count));
}

int Exporter::port() const { return impl_->exposer->GetListeningPorts().at(0); }

void Exporter::observe(const StepRecord& record) {
  Impl& out = *impl_;
  raise_to(out.steps, static_cast<double>(record.step));
  if (std::isfinite(record.seconds)) out.step_seconds.Observe(record.seconds);
  for (size_t i = 0; i < kPhases; ++i) {
    if (record.phase_seconds[i] > 0) out.phase_seconds[i]->Increment(record.phase_seconds[i]);
  }
  if (out.whole_run) out.observe_run(record);
  out.last_step.SetToCurrentTime();
}

}  // namespace kessoku::metrics
