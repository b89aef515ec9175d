#include <ATen/ops/empty.h>
#define OMPI_SKIP_MPICXX 1  // the C++ bindings, removed from MPI 3, would have to be linked
#include <mpi.h>

#include <exception>
#include <limits>

#include "base/error.h"
#include "runtime/communicator.h"

namespace kessoku::runtime {

namespace {

void check(int code, const char* operation) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(ExitCode::kInternal,
              fmt::format("{} failed: {}", operation, std::string_view(text, length)));
}

MPI_Datatype type_of(const at::Tensor& tensor) {
  if (!tensor.is_contiguous()) throw std::logic_error("MPI takes contiguous tensors");
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    default:
      throw std::logic_error("MPI takes f32, f64 and int64 tensors");
  }
}

int count_of(const at::Tensor& tensor) {
  if (tensor.numel() > std::numeric_limits<int>::max()) {
    throw std::logic_error(
        fmt::format("{} elements are too many for one MPI call", tensor.numel()));
  }
  return static_cast<int>(tensor.numel());
}

class MpiPending : public Pending {
 public:
  MPI_Request* request() { return &request_; }
  void wait() override { check(MPI_Wait(&request_, MPI_STATUS_IGNORE), "waiting for an exchange"); }

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

/// Round k: send the part of rank + k to its owner, get the own part of rank − k, add it. Each rank
/// sends and gets (size − 1) / size of the whole, the least there is; Open MPI 4.1's own
/// reduce-scatter took two to three times as long between two processes of a host.
class PairwiseReduceScatter : public Pending {
 public:
  PairwiseReduceScatter(const at::Tensor& whole, const at::Tensor& part, at::Tensor& scratch,
                        int rank, int size)
      : whole_(whole), part_(part), scratch_(scratch), rank_(rank), size_(size) {
    const at::Tensor own = whole_.narrow(0, rank_ * part_.numel(), part_.numel());
    if (own.data_ptr() != part_.data_ptr()) part_.copy_(own);
    if (size_ == 1) return;
    if (!scratch_.defined() || scratch_.numel() != part_.numel() ||
        scratch_.dtype() != part_.dtype()) {
      scratch_ = at::empty(part_.sizes(), part_.options());
    }
    start_round();
  }

  void wait() override {
    while (round_ < size_) {
      check(MPI_Waitall(2, requests_, MPI_STATUSES_IGNORE), "reduce-scatter");
      part_.add_(scratch_);
      ++round_;
      if (round_ < size_) start_round();
    }
  }

 private:
  void start_round() {
    const int to = (rank_ + round_) % size_;
    const int from = (rank_ - round_ + size_) % size_;
    const at::Tensor theirs = whole_.narrow(0, to * part_.numel(), part_.numel());
    check(MPI_Irecv(scratch_.data_ptr(), count_of(scratch_), type_of(scratch_), from, 0,
                    MPI_COMM_WORLD, &requests_[0]),
          "reduce-scatter");
    check(MPI_Isend(theirs.data_ptr(), count_of(theirs), type_of(theirs), to, 0, MPI_COMM_WORLD,
                    &requests_[1]),
          "reduce-scatter");
  }

  at::Tensor whole_, part_;
  at::Tensor& scratch_;
  int rank_, size_;
  int round_ = 1;
  MPI_Request requests_[2];
};

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator() {
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm host = MPI_COMM_NULL;
    check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host),
          "MPI_Comm_split_type");
    MPI_Comm_rank(host, &local_rank_);
    MPI_Comm_size(host, &local_size_);
    MPI_Comm_free(&host);
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  ~MpiCommunicator() override {
    // A rank that leaves by an exception must end the others too: they would wait for it for ever.
    if (std::uncaught_exceptions() > 0) {
      return;
    }
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }

  std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) override {
    auto pending = std::make_unique<MpiPending>();
    check(MPI_Iallreduce(MPI_IN_PLACE, tensor.data_ptr(), count_of(tensor), type_of(tensor),
                         MPI_SUM, MPI_COMM_WORLD, pending->request()),
          "all-reduce");
    return pending;
  }

  std::unique_ptr<Pending> reduce_scatter(const at::Tensor& whole, at::Tensor& part) override {
    require_parts(whole, part);
    return std::make_unique<PairwiseReduceScatter>(whole, part, scratch_, rank_, size_);
  }

  std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) override {
    require_parts(whole, part);
    auto pending = std::make_unique<MpiPending>();
    const char* own = static_cast<const char*>(whole.data_ptr()) + rank_ * part.nbytes();
    const void* source = part.data_ptr() == own ? MPI_IN_PLACE : part.data_ptr();
    check(MPI_Iallgather(source, count_of(part), type_of(part), whole.data_ptr(), count_of(part),
                         type_of(whole), MPI_COMM_WORLD, pending->request()),
          "all-gather");
    return pending;
  }

  std::unique_ptr<Pending> broadcast(at::Tensor& tensor, int root) override {
    auto pending = std::make_unique<MpiPending>();
    check(MPI_Ibcast(tensor.data_ptr(), count_of(tensor), type_of(tensor), root, MPI_COMM_WORLD,
                     pending->request()),
          "broadcast");
    return pending;
  }

  void barrier() override { check(MPI_Barrier(MPI_COMM_WORLD), "barrier"); }

 private:
  void require_parts(const at::Tensor& whole, const at::Tensor& part) const {
    if (whole.numel() != part.numel() * size_ || whole.scalar_type() != part.scalar_type()) {
      throw std::logic_error("the whole must be size() parts of one type");
    }
  }

  at::Tensor scratch_;  ///< of reduce_scatter: kept, as fresh pages cost as much as the exchange
  int rank_ = 0, size_ = 1, local_rank_ = 0, local_size_ = 1;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator() {
  return std::make_unique<MpiCommunicator>();
}

}  // namespace kessoku::runtime
