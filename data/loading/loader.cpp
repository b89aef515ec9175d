#include "data/loading/loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "data/loading/batch_maker.h"

namespace kessoku::data {

// A ring of `prefetch` places. Workers take tickets in order, and only while their place in the
// ring is free, so that at most `prefetch` batches are ready or under way.
struct Loader::Impl {
  Impl(const Store& store, Sampler sampler, const LoaderOptions& options);
  ~Impl();

  struct Place {
    std::optional<Batch> batch;
    std::exception_ptr failure;
  };
  struct Ticket {
    uint64_t number;
    uint64_t step;
    uint32_t micro;
    std::vector<Draw> draws;
  };

  void check() const;
  void start();
  void stop();
  void work();
  Ticket take_ticket();
  Place make(Ticket ticket) const;
  Batch next();
  std::vector<Draw> draws(uint64_t step);
  std::vector<Draw> draws_of(const std::vector<Draw>& all, int rank, uint64_t micro) const;

  LoaderOptions options;
  Sampler sampler;
  BatchMaker maker;
  uint64_t accumulation = 0;
  uint64_t tickets = 0;  // in all

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  uint64_t taken = 0;      // tickets
  uint64_t delivered = 0;  // batches
  std::optional<uint64_t> drawn_step;
  std::vector<Draw> drawn;  // of drawn_step
  std::vector<Place> ring;
  std::vector<std::jthread> threads;
};

Loader::Impl::Impl(const Store& store, Sampler the_sampler, const LoaderOptions& the_options)
    : options(the_options),
      sampler(std::move(the_sampler)),
      maker(store, the_options, [this](const Draw& draw) { return sampler.substitutes(draw); }) {
  check();
  accumulation =
      sampler.global_batch() / (options.micro_batch * static_cast<uint64_t>(options.ranks));
  tickets = (options.last_step - options.first_step) * accumulation;
  ring.resize(std::max<size_t>(options.prefetch, 1));
  options.counts->capacity = ring.size();
  start();
}

Loader::Impl::~Impl() { stop(); }

void Loader::Impl::start() {
  try {
    for (int64_t i = 0; i < std::max<int64_t>(options.threads, 1); ++i)
      threads.emplace_back([this] { work(); });
  } catch (const std::system_error&) {  // one thread too many
    stop();
    throw;
  }
}

void Loader::Impl::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  changed.notify_all();
  threads.clear();  // waits for them
}

void Loader::Impl::check() const {
  if (options.micro_batch == 0) throw UsageError("train.micro_batch must be at least 1");
  if (options.ranks < 1 || options.rank < 0 || options.rank >= options.ranks) {
    throw std::logic_error("loader: rank out of range");
  }
  if (options.last_step < options.first_step)
    throw std::logic_error("loader: last step before the first");
  const uint64_t global = sampler.global_batch();
  const auto ranks = static_cast<uint64_t>(options.ranks);
  if (global % options.micro_batch != 0 || global / options.micro_batch % ranks != 0) {
    throw UsageError(
        fmt::format("train.global_batch = {} is no multiple of micro_batch × ranks = {} × {}; "
                    "every rank must get whole "
                    "micro-batches",
                    global, options.micro_batch, ranks));
  }
}

// Call with the lock held.
Loader::Impl::Ticket Loader::Impl::take_ticket() {
  const uint64_t number = taken++;
  const uint64_t step = options.first_step + number / accumulation;
  const uint64_t micro = number % accumulation;
  if (drawn_step != step) {
    drawn = sampler.step(step);
    drawn_step = step;
  }
  return {number, step, static_cast<uint32_t>(micro), draws_of(drawn, options.rank, micro)};
}

std::vector<Draw> Loader::Impl::draws_of(const std::vector<Draw>& all, int rank,
                                         uint64_t micro) const {
  const uint64_t block = static_cast<uint64_t>(rank) * accumulation + micro;
  const auto begin = all.begin() + static_cast<int64_t>(block * options.micro_batch);
  return {begin, begin + static_cast<int64_t>(options.micro_batch)};
}

std::vector<Draw> Loader::Impl::draws(uint64_t step) {
  const std::lock_guard lock(mutex);
  return sampler.step(step);
}

Loader::Impl::Place Loader::Impl::make(Ticket ticket) const {
  Place place;
  try {
    place.batch = maker.make(ticket.step, ticket.micro, std::move(ticket.draws));
    const auto& captions = place.batch->captions;
    options.counts->captions += captions.size();
    options.counts->empty += static_cast<uint64_t>(std::ranges::count(captions, ""));
    options.counts->truncated += place.batch->truncated;
    ++options.counts->ready;
  } catch (...) {
    place.failure = std::current_exception();
  }
  return place;
}

void Loader::Impl::work() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock,
                 [&] { return stopping || taken == tickets || taken - delivered < ring.size(); });
    if (stopping || taken == tickets) return;
    Ticket ticket = take_ticket();
    const uint64_t number = ticket.number;
    lock.unlock();
    Place place = make(std::move(ticket));
    lock.lock();
    ring[number % ring.size()] = std::move(place);
    changed.notify_all();
  }
}

Batch Loader::Impl::next() {
  std::unique_lock lock(mutex);
  if (delivered == tickets) throw std::logic_error("loader: asked for a batch past the last step");
  Place& place = ring[delivered % ring.size()];
  changed.wait(lock, [&] { return place.batch || place.failure; });
  if (place.failure) std::rethrow_exception(place.failure);  // and again, if asked again
  Batch batch = std::move(*place.batch);
  place.batch.reset();
  ++delivered;
  --options.counts->ready;
  changed.notify_all();
  return batch;
}

Loader::Loader(const Store& store, Sampler sampler, const LoaderOptions& options)
    : impl_(std::make_unique<Impl>(store, std::move(sampler), options)) {}
Loader::~Loader() = default;
Batch Loader::next() { return impl_->next(); }
std::vector<Draw> Loader::draws(uint64_t step) { return impl_->draws(step); }
Batch Loader::read(uint64_t step, int rank, uint64_t micro) {
  return impl_->maker.make(step, static_cast<uint32_t>(micro),
                           impl_->draws_of(impl_->draws(step), rank, micro));
}
std::shared_ptr<const LoaderCounts> Loader::counts() const { return impl_->options.counts; }

}  // namespace kessoku::data
