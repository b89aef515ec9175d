#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/communication/collective_log.h"
#include "runtime/communication/communication_thread.h"
#include "runtime/communication/summation_tree.h"

namespace kessoku::runtime {

/// What a reduce-scatter's numbers travel as. In bf16 what each rank has and all sums but the last
/// are rounded to bf16; they are added in f32.
enum class Wire { kFloat32, kBFloat16 };

/// In which order a reduce-scatter adds: along the tree, or as the library likes it.
enum class Reduction { kExact, kFast };

/// Collectives over all ranks of the run. Every rank must call the same ones in the same order;
/// they are carried out in that order, in the background. Calls must not overlap in time. Tensors
/// are contiguous, and must live and stay as they are until `wait`. Throws Error (kInternal) naming
/// the operation if the exchange fails. Destroying a Pending without waiting is a bug.
class Communicator {
 public:
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Rank among those on this host, and their number.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;

  /// Sums over ranks, in place. f32, f64 or int64.
  virtual std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) = 0;
  /// `blocks` (f32, one for each of tree.blocks_of(rank())) have size() equal parts each; the sum
  /// of part rank() over all blocks of all ranks, along `tree`, comes into `part`, which may be a
  /// block's own part.
  virtual std::unique_ptr<Pending> reduce_scatter(const std::vector<at::Tensor>& blocks,
                                                  at::Tensor& part, const SummationTree& tree,
                                                  Wire wire) = 0;
  /// The same of one block a rank.
  std::unique_ptr<Pending> reduce_scatter(const at::Tensor& whole, at::Tensor& part,
                                          Wire wire = Wire::kFloat32);
  /// The inverse: every rank's `part` into `whole`. `part` may be whole's own part. Any dtype.
  virtual std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) = 0;
  /// From rank `root` to all. Any dtype.
  virtual std::unique_ptr<Pending> broadcast(at::Tensor& tensor, int root) = 0;
  /// Sends `sent` to the rank `distance` ranks on, counted around, and gets what the rank as far
  /// back sends, which has as many bytes as `received`. On the host only; any dtype.
  virtual std::unique_ptr<Pending> shift(const at::Tensor& sent, at::Tensor& received,
                                         int distance) = 0;
  virtual void barrier() = 0;
  /// Of each rank, the number of its host.
  virtual std::vector<int> hosts() const {
    return std::vector<int>(static_cast<size_t>(size()), 0);
  }
  /// Text from rank 0 to all.
  std::string broadcast_text(const std::string& text);
  /// Whether it is so on all ranks.
  bool agrees(bool is_so);
  /// Every rank's text, by rank.
  std::vector<std::string> all_gather_text(const std::string& text);
  /// The last operations, for the watchdog.
  const std::shared_ptr<CollectiveLog>& log() const { return log_; }

 protected:
  /// Throws std::logic_error unless the tensors fit each other, the tree and size().
  void require_blocks(const std::vector<at::Tensor>& blocks, const at::Tensor& part,
                      const SummationTree& tree) const;
  /// Likewise, of an all-gather.
  void require_parts(const at::Tensor& whole, const at::Tensor& part) const;

  /// Counts what a library's exchange moves at least: it may take other ways.
  void count_all_reduce(const at::Tensor& tensor) const;
  void count_parts(const std::string& operation, const at::Tensor& part) const;
  void count_broadcast(const at::Tensor& tensor, int root) const;

  Communicator() : Communicator(std::make_shared<CollectiveLog>()) {}
  explicit Communicator(std::shared_ptr<CollectiveLog> log) : log_(std::move(log)) {}

 private:
  std::shared_ptr<CollectiveLog> log_;
};

/// One rank: everything is a copy at most.
std::unique_ptr<Communicator> make_solo_communicator();

/// All ranks of an mpirun; initializes MPI, and finalizes it when destroyed. At most one a process.
std::unique_ptr<Communicator> make_mpi_communicator();

/// For a process that is about to end with an error, after its last words: waits until all ranks
/// have come here, at most `seconds`. When one rank has ended, mpirun kills those that are left.
void leave_together(double seconds);

/// Under mpirun (or srun with PMI) the MPI communicator, else solo.
std::unique_ptr<Communicator> make_communicator();

/// `host` while tensors are on CPUs; else one that exchanges the GPUs' tensors among themselves.
/// `device` is this rank's; throws UsageError if others have not the same kind. `timeout` seconds
/// and `reduction` as of make_nccl_communicator. Collective.
std::unique_ptr<Communicator> connect(std::unique_ptr<Communicator> host, at::Device device,
                                      double timeout, Reduction reduction);

/// True if this process was started by mpirun, without initializing MPI.
bool under_mpi();

}  // namespace kessoku::runtime
