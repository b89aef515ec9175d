#define OMPI_SKIP_MPICXX 1  // the C++ bindings, removed from MPI 3, would have to be linked
#include <mpi.h>

#include <exception>
#include <limits>
#include <thread>

#include "base/error.h"
#include "runtime/communication/communicator.h"
#include "runtime/communication/tree_exchange.h"

namespace kessoku::runtime {

namespace {

using SomebodyWaits = std::function<bool()>;

void check(int code, const char* operation) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(ExitCode::kInternal,
              fmt::format("{} failed: {}", operation, std::string_view(text, length)));
}

void require_contiguous(const at::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.is_cpu())
    throw std::logic_error("MPI takes contiguous tensors of the CPU");
}

/// For sums.
MPI_Datatype number_type(const at::Tensor& tensor) {
  require_contiguous(tensor);
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    default:
      throw std::logic_error("MPI sums f32, f64 and int64 tensors");
  }
}

/// What is only moved: any dtype, as elements of its size, so that counts stay small.
MPI_Datatype moved_type(const at::Tensor& tensor) {
  require_contiguous(tensor);
  switch (tensor.element_size()) {
    case 8:
      return MPI_INT64_T;
    case 4:
      return MPI_INT32_T;
    case 2:
      return MPI_INT16_T;
    default:
      return MPI_BYTE;
  }
}

int count_of(const at::Tensor& tensor) {
  if (tensor.numel() > std::numeric_limits<int>::max()) {
    throw std::logic_error(
        fmt::format("{} elements are too many for one MPI call", tensor.numel()));
  }
  return static_cast<int>(tensor.numel());
}

/// MPI moves data only while it is asked to. As long as nobody waits, the core belongs to the
/// training thread: ask seldom. Who waits asks all the time, but not for long: where ranks share
/// cores, those that ask keep the others from sending for whole time slices (a barrier of four
/// ranks on two cores took 20 ms).
void complete(std::vector<MPI_Request>& requests, const SomebodyWaits& somebody_waits,
              const char* operation) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kPause = std::chrono::microseconds(50), kPatience = 4 * kPause;
  Clock::time_point waiting_since = Clock::time_point::max();
  while (true) {
    int done = 0;
    check(
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
        operation);
    if (done != 0) return;
    const Clock::time_point now = Clock::now();
    if (somebody_waits()) waiting_since = std::min(waiting_since, now);
    if (now >= waiting_since && now - waiting_since < kPatience) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kPause);
    }
  }
}

/// Where this process stands among the ranks, and what its thread works with.
struct Place {
  int rank = 0, size = 1, local_rank = 0, local_size = 1;
  std::vector<int> hosts{0};  ///< of each rank; see pretended_hosts
  Staging staging;
};

void set_up(Place& place) {
  int provided = 0;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.size);
  MPI_Comm host = MPI_COMM_NULL;
  check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, place.rank, MPI_INFO_NULL, &host),
        "MPI_Comm_split_type");
  MPI_Comm_rank(host, &place.local_rank);
  MPI_Comm_size(host, &place.local_size);
  int first = place.rank;  // of the host
  check(MPI_Bcast(&first, 1, MPI_INT, 0, host), "MPI_Bcast");
  MPI_Comm_free(&host);
  place.hosts.resize(static_cast<size_t>(place.size));
  check(MPI_Allgather(&first, 1, MPI_INT, place.hosts.data(), 1, MPI_INT, MPI_COMM_WORLD),
        "MPI_Allgather");
  if (const auto pretended = pretended_hosts(place.size)) place.hosts = *pretended;
}

/// Of the communicator that an exception has left; it may hang in an exchange, and is never joined.
CommunicationThread* left_behind = nullptr;

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator()
      : thread_(std::make_unique<CommunicationThread>([place = place_] { set_up(*place); },
                                                      [] { MPI_Finalize(); }, log())) {}
  ~MpiCommunicator() override {
    // A rank that leaves by an exception must end the others too: they would wait for it for ever.
    if (std::uncaught_exceptions() > 0) left_behind = thread_.release();
  }

  int rank() const override { return place_->rank; }
  int size() const override { return place_->size; }
  int local_rank() const override { return place_->local_rank; }
  int local_size() const override { return place_->local_size; }
  std::vector<int> hosts() const override { return place_->hosts; }

  std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) override {
    const MPI_Datatype type = number_type(tensor);
    const int count = count_of(tensor);
    count_all_reduce(tensor);
    return ask("all-reduce", tensor, [=](auto& requests) {
      check(MPI_Iallreduce(MPI_IN_PLACE, tensor.data_ptr(), count, type, MPI_SUM, MPI_COMM_WORLD,
                           &requests.emplace_back()),
            "all-reduce");
    });
  }

  std::unique_ptr<Pending> reduce_scatter(const std::vector<at::Tensor>& blocks, at::Tensor& part,
                                          const SummationTree& tree, Wire wire) override {
    require_blocks(blocks, part, tree);
    for (const at::Tensor& block : blocks) require_contiguous(block);
    require_contiguous(part);
    return thread_->ask("reduce-scatter", size() * static_cast<int64_t>(part.nbytes()),
                        [=, place = place_, log = log()](const SomebodyWaits& somebody_waits) {
                          exchange_and_sum(*place, blocks, part, tree, wire, somebody_waits, *log);
                        });
  }

  std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) override {
    require_parts(whole, part);
    require_contiguous(part);
    const MPI_Datatype type = moved_type(whole);
    const int count = count_of(part);
    const char* own = static_cast<const char*>(whole.data_ptr()) + rank() * part.nbytes();
    const void* source = part.data_ptr() == own ? MPI_IN_PLACE : part.data_ptr();
    count_parts("all-gather", part);
    return ask("all-gather", whole, [=, keep = part](auto& requests) {
      check(MPI_Iallgather(source, count, type, whole.data_ptr(), count, type, MPI_COMM_WORLD,
                           &requests.emplace_back()),
            "all-gather");
    });
  }

  std::unique_ptr<Pending> broadcast(at::Tensor& tensor, int root) override {
    const MPI_Datatype type = moved_type(tensor);
    const int count = count_of(tensor);
    count_broadcast(tensor, root);
    return ask("broadcast", tensor, [=](auto& requests) {
      check(MPI_Ibcast(tensor.data_ptr(), count, type, root, MPI_COMM_WORLD,
                       &requests.emplace_back()),
            "broadcast");
    });
  }

  std::unique_ptr<Pending> shift(const at::Tensor& sent, at::Tensor& received,
                                 int distance) override {
    const MPI_Datatype type = moved_type(sent), received_type = moved_type(received);
    const int count = count_of(sent), received_count = count_of(received);
    const int to = (rank() + distance) % size(), from = (rank() + size() - distance) % size();
    if (to != rank()) {
      log()->count("shift",
                   {static_cast<int64_t>(sent.nbytes()), static_cast<int64_t>(received.nbytes())});
    }
    return ask("shift", received, [=](auto& requests) {
      check(MPI_Irecv(received.data_ptr(), received_count, received_type, from, 0, MPI_COMM_WORLD,
                      &requests.emplace_back()),
            "shift");
      check(MPI_Isend(sent.const_data_ptr(), count, type, to, 0, MPI_COMM_WORLD,
                      &requests.emplace_back()),
            "shift");
    });
  }

  void barrier() override {
    ask("barrier", {}, [](auto& requests) {
      check(MPI_Ibarrier(MPI_COMM_WORLD, &requests.emplace_back()), "barrier");
    })->wait();
  }

 private:
  /// `start` begins the exchange of a tensor, which it keeps alive.
  std::unique_ptr<Pending> ask(const char* name, const at::Tensor& tensor,
                               std::function<void(std::vector<MPI_Request>&)> start) {
    const int64_t bytes = tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
    return thread_->ask(name, bytes, [=](const SomebodyWaits& somebody_waits) {
      std::vector<MPI_Request> requests;
      start(requests);
      complete(requests, somebody_waits, name);
    });
  }

  /// With one block a rank and one host, each rank sends and gets (size − 1) / size of the whole,
  /// the least there is. Open MPI 4.1's own reduce-scatter took two to three times as long between
  /// two processes of a host, cannot sum bf16, and adds in an order that depends on the number of
  /// ranks.
  static void exchange_and_sum(Place& place, const std::vector<at::Tensor>& blocks,
                               const at::Tensor& part, const SummationTree& tree, Wire wire,
                               const SomebodyWaits& somebody_waits, CollectiveLog& log) {
    TreeExchange exchange(blocks, part, {tree, place.hosts}, wire, place.rank, place.staging);
    for (size_t round = 0; round < exchange.rounds(); ++round) {
      exchange.begin_round();
      std::vector<MPI_Request> requests;
      for (const auto& [peer, tensor] : exchange.receives()) {
        check(MPI_Irecv(tensor.data_ptr(), count_of(tensor), moved_type(tensor), peer, 0,
                        MPI_COMM_WORLD, &requests.emplace_back()),
              "reduce-scatter");
      }
      for (const auto& [peer, tensor] : exchange.sends()) {
        check(MPI_Isend(tensor.data_ptr(), count_of(tensor), moved_type(tensor), peer, 0,
                        MPI_COMM_WORLD, &requests.emplace_back()),
              "reduce-scatter");
      }
      complete(requests, somebody_waits, "reduce-scatter");
      log.count("reduce-scatter", exchange.traffic());
      exchange.finish_round();
    }
  }

  const std::shared_ptr<Place> place_ = std::make_shared<Place>();
  std::unique_ptr<CommunicationThread> thread_;
};

}  // namespace

void leave_together(double seconds) {
  if (left_behind == nullptr) return;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                   std::chrono::duration<double>(seconds));
  const std::unique_ptr<Pending> all =
      left_behind->ask("leave", 0, [](const SomebodyWaits& somebody_waits) {
        std::vector<MPI_Request> requests;
        check(MPI_Ibarrier(MPI_COMM_WORLD, &requests.emplace_back()), "leave");
        complete(requests, somebody_waits, "leave");
      });
  while (!all->done() && Clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

std::unique_ptr<Communicator> make_mpi_communicator() {
  return std::make_unique<MpiCommunicator>();
}

}  // namespace kessoku::runtime
