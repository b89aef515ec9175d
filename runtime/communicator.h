#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

namespace kessoku::runtime {

/// Work under way; `wait` returns when its tensors may be used. Destroying it without waiting is a
/// bug.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void wait() = 0;
};

/// Collectives over all ranks of the run. Every rank must call the same ones in the same order,
/// from one thread. Tensors are contiguous and must live until `wait`. Throws Error (kInternal)
/// naming the operation if the exchange fails.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Rank among those on this host, and their number.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;

  /// Sums over ranks, in place. f32, f64 or int64.
  virtual std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) = 0;
  /// `whole` has size() equal parts; the sum of part rank() over all ranks comes into `part`, which
  /// may be whole's own part. One at a time.
  virtual std::unique_ptr<Pending> reduce_scatter(const at::Tensor& whole, at::Tensor& part) = 0;
  /// The inverse: every rank's `part` into `whole`. `part` may be whole's own part.
  virtual std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) = 0;
  /// From rank `root` to all.
  virtual std::unique_ptr<Pending> broadcast(at::Tensor& tensor, int root) = 0;
  virtual void barrier() = 0;
  /// Text from rank 0 to all.
  std::string broadcast_text(const std::string& text);
};

/// One rank: everything is a copy at most.
std::unique_ptr<Communicator> make_solo_communicator();

/// All ranks of an mpirun; initialises MPI, and finalises it when destroyed. At most one a process.
std::unique_ptr<Communicator> make_mpi_communicator();

/// Under mpirun (or srun with PMI) the MPI communicator, else solo.
std::unique_ptr<Communicator> make_communicator();

/// True if this process was started by mpirun, without initialising MPI.
bool under_mpi();

}  // namespace kessoku::runtime
