// Stands in for libnccl.so.2 on a machine without GPUs: the same calls over host memory that the
// processes of one host share. As NCCL's without blocking, a communicator answers "in progress"
// first, does the work only when it has been asked for its state, and takes no call before that.
// Each call is noted; what KESSOKU_STAND_IN_FAULT names goes wrong:
//
//     init          no rank ever gets through initialization
//     refuse:N      call N (1, 2, …) of a collective ends in an error
//     lose:N        the connection is lost at call N: the error comes asynchronously, the stream
//     hangs hang:N        call N never ends, without an error
//
// with "@RANK" behind it on that rank only.
#include <nccl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/stand_ins/device_memory.h"
#include "tests/stand_ins/health.h"
#include "tests/stand_ins/shared_segment.h"
#include "tests/stand_ins/stream_order.h"
#include "tests/stand_ins/thread_device.h"

using kessoku::stand_ins::Aborted;
using kessoku::stand_ins::kernel_address;
using kessoku::stand_ins::note;
using kessoku::stand_ins::SharedSegment;
using kessoku::stand_ins::Stream;

struct ncclComm {
  std::shared_ptr<SharedSegment> segment;
  std::string last_error;
  std::atomic<ncclResult_t> state = ncclSuccess;
  int polls_to_go = 2;           // of the state, before the communicator is ready
  std::function<void()> launch;  // what the streams are asked for then
  int calls = 0;
  bool lost = false;  // what the state tells once the call is under way
};

namespace {

char* of_kernel(const void* place) { return static_cast<char*>(kernel_address(place)); }

struct Transfer {
  bool sends;
  void* data;  // of the GPU
  size_t bytes;
  int peer;
};

/// What is between ncclGroupStart and ncclGroupEnd.
struct Group {
  int depth = 0;
  ncclComm* comm = nullptr;
  Stream* stream = nullptr;
  std::vector<Transfer> transfers;
};
thread_local Group group;

struct Fault {
  std::string kind;
  int call = 0;
  int rank = -1;
};

Fault fault() {
  const char* text = std::getenv("KESSOKU_STAND_IN_FAULT");
  if (text == nullptr) return {};
  Fault fault;
  std::string rest = text;
  if (const size_t at = rest.find('@'); at != std::string::npos) {
    fault.rank = std::atoi(rest.c_str() + at + 1);
    rest.resize(at);
  }
  if (const size_t colon = rest.find(':'); colon != std::string::npos) {
    fault.call = std::atoi(rest.c_str() + colon + 1);
    rest.resize(colon);
  }
  fault.kind = rest;
  return fault;
}

bool strikes(const Fault& fault, const std::string& kind, int rank) {
  return fault.kind == kind && (fault.rank < 0 || fault.rank == rank);
}

size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    default:
      return 8;
  }
}

using Take = std::function<void(int rank, const char* data, size_t offset, size_t bytes)>;

/// Every rank shows `bytes` of its own, piece by piece; `take` is given each rank's pieces.
void show(SharedSegment& segment, const char* own, size_t bytes, const Take& take) {
  for (size_t offset = 0; offset < bytes; offset += SharedSegment::kSlot) {
    const size_t piece = std::min(SharedSegment::kSlot, bytes - offset);
    std::memcpy(segment.slot(segment.rank()), own + offset, piece);
    segment.barrier();
    for (int rank = 0; rank < segment.ranks(); ++rank)
      take(rank, segment.slot(rank), offset, piece);
    segment.barrier();
  }
}

template <typename Number>
void add(char* sum, const char* data, size_t bytes, bool first) {
  auto* to = reinterpret_cast<Number*>(sum);
  const auto* from = reinterpret_cast<const Number*>(data);
  for (size_t i = 0; i < bytes / sizeof(Number); ++i) to[i] = first ? from[i] : to[i] + from[i];
}

void add(ncclDataType_t type, char* sum, const char* data, size_t bytes, bool first) {
  if (type == ncclFloat32) return add<float>(sum, data, bytes, first);
  if (type == ncclFloat64) return add<double>(sum, data, bytes, first);
  if (type == ncclInt64) return add<int64_t>(sum, data, bytes, first);
  throw std::logic_error("the stand-in sums f32, f64 and int64");
}

/// Sums bytes [begin, begin + numel·size) of all ranks' `own` in the order of ranks.
void sum(SharedSegment& segment, const char* own, size_t bytes, size_t begin, size_t end,
         ncclDataType_t type, char* out) {
  show(segment, own, bytes, [&](int rank, const char* data, size_t offset, size_t piece) {
    const size_t from = std::max(begin, offset), to = std::min(end, offset + piece);
    if (from < to) add(type, out + (from - begin), data + (from - offset), to - from, rank == 0);
  });
}

/// Messages to or from one peer, one after the other in pieces.
class Conversation {
 public:
  Conversation(SharedSegment& segment, bool sends, int peer) : sends_(sends) {
    const int ranks = segment.ranks(), own = segment.rank();
    const int from = sends ? own : peer, to = sends ? peer : own;
    lane_ = &segment.lane(from, to);
    room_ = SharedSegment::kSlot / static_cast<size_t>(ranks) / 64 * 64;
    place_ = segment.slot(from) + static_cast<size_t>(to) * room_;
  }
  void add(const Transfer& transfer) { transfers_.push_back(transfer); }
  bool done() const {
    return next_ == transfers_.size() && (!sends_ || lane_->sent == lane_->taken);
  }
  /// Returns whether a piece could be moved.
  bool move() {
    if (next_ == transfers_.size()) return false;
    if ((lane_->sent == lane_->taken) != sends_) return false;
    const Transfer& transfer = transfers_[next_];
    const size_t piece = std::min(room_, transfer.bytes - offset_);
    if (sends_) {
      lane_->bytes = transfer.bytes;
      std::memcpy(place_, of_kernel(transfer.data) + offset_, piece);
      ++lane_->sent;
    } else {
      // NCCL would hang, or write too far.
      if (lane_->bytes != transfer.bytes) {
        std::fprintf(stderr, "stand-in: receives %zu bytes where %zu are sent\n", transfer.bytes,
                     static_cast<size_t>(lane_->bytes));
        std::abort();
      }
      std::memcpy(of_kernel(transfer.data) + offset_, place_, piece);
      ++lane_->taken;
    }
    offset_ += piece;
    if (offset_ == transfer.bytes) {
      offset_ = 0;
      ++next_;
    }
    return true;
  }

 private:
  bool sends_;
  SharedSegment::Lane* lane_;
  size_t room_ = 0, offset_ = 0, next_ = 0;
  char* place_ = nullptr;
  std::vector<Transfer> transfers_;
};

/// All at once; those between two ranks arrive in the order in which they were sent. Ranks that
/// neither send nor receive have no part in it.
void exchange(SharedSegment& segment, const std::vector<Transfer>& transfers) {
  std::map<std::pair<bool, int>, Conversation> conversations;
  for (const Transfer& transfer : transfers) {
    conversations
        .try_emplace({transfer.sends, transfer.peer}, segment, transfer.sends, transfer.peer)
        .first->second.add(transfer);
  }
  const auto done = [](const auto& item) { return item.second.done(); };
  while (!std::ranges::all_of(conversations, done)) {
    if (segment.aborted()) throw Aborted();
    bool moved = false;
    for (auto& [peer, conversation] : conversations) moved |= conversation.move();
    if (moved) continue;
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

/// Bytes of a GPU that a call reads or writes.
struct Use {
  const void* data;
  size_t bytes;
  bool writes;
};

/// Has the stream carry out `work`, unless a fault strikes this call.
ncclResult_t enqueue(ncclComm* comm, Stream* stream, const std::vector<Use>& uses,
                     std::function<void(SharedSegment&)> work) {
  if (stream == nullptr) return ncclInvalidArgument;  // the compute stream: nothing would overlap
  if (comm->state != ncclSuccess) return ncclInvalidUsage;
  if (comm->polls_to_go != 0) {
    comm->last_error = "a call while the one before is in progress";
    return ncclInvalidArgument;
  }
  if (kessoku::stand_ins::is_broken()) return ncclUnhandledCudaError;
  try {
    for (const Use& use : uses)
      kessoku::stand_ins::stream_order().use(stream->number(), use.data, use.bytes, use.writes);
  } catch (const std::exception& error) {
    comm->last_error = error.what();
    return ncclInvalidUsage;
  }
  comm->polls_to_go = 2;
  const Fault fault = ::fault();
  const int rank = comm->segment->rank();
  const bool now = ++comm->calls == fault.call;
  const bool refused = now && strikes(fault, "refuse", rank);
  const bool lost = now && strikes(fault, "lose", rank);
  const bool hangs = lost || (now && strikes(fault, "hang", rank));
  comm->launch = [comm, stream, work = std::move(work), refused, lost, hangs] {
    if (refused) {
      comm->last_error = "the stand-in refuses this call";
      comm->state = ncclSystemError;
      return;
    }
    // The task outlives a communicator that is aborted.
    stream->enqueue([segment = comm->segment, work, hangs] {
      try {
        while (hangs) {
          if (segment->aborted()) throw Aborted();
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        // Long enough for those who do not wait to be found out.
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        segment->begin();
        if (segment->aborted())
          throw Aborted();  // others are no longer where this call expects them
        work(*segment);
      } catch (const Aborted&) {
      }
    });
    comm->lost = lost;
  };
  return ncclInProgress;
}

ncclResult_t transfer(ncclComm* comm, Stream* stream, const Transfer& transfer) {
  if (group.depth == 0) return ncclInvalidUsage;  // alone it would wait for its peer for ever
  group.comm = comm;
  group.stream = stream;
  group.transfers.push_back(transfer);
  return ncclSuccess;
}

void note_call(const char* name, size_t count, ncclDataType_t type, cudaStream_t stream,
               int peer = -1) {
  note(std::string(name) + " count=" + std::to_string(count) + " type=" + std::to_string(type) +
       (peer < 0 ? "" : " peer=" + std::to_string(peer)) + " stream=" +
       std::to_string(stream == nullptr ? 0 : reinterpret_cast<Stream*>(stream)->number()));
}

}  // namespace

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id, 0, sizeof(*id));
  std::random_device device;
  const std::string name =
      "kessoku-stand-in-" + std::to_string(device()) + std::to_string(device());
  std::memcpy(id->internal, name.data(), name.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  const char* nvls = std::getenv("NCCL_NVLS_ENABLE");  // read by NCCL as it begins
  note("init ranks=" + std::to_string(ranks) + " blocking=" + std::to_string(config->blocking) +
       " nvls=" + (nvls == nullptr ? "" : nvls));
  if (!kessoku::stand_ins::has_chosen_device()) return ncclInvalidUsage;  // for which GPU?
  *comm = new ncclComm;
  if (strikes(fault(), "init", rank)) {
    (*comm)->polls_to_go = -1;
  } else if (strikes(fault(), "share", rank)) {
    (*comm)->state = ncclInvalidUsage;
    (*comm)->last_error = "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000";
  } else {
    (*comm)->segment = std::make_shared<SharedSegment>(id.internal, rank, ranks);
  }
  return config->blocking != 0 ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  const bool busy = comm->polls_to_go != 0;
  if (comm->polls_to_go > 0 && --comm->polls_to_go == 0 && comm->launch)
    std::exchange(comm->launch, nullptr)();
  *state = busy ? ncclInProgress : comm->state.load();
  if (!busy && std::exchange(comm->lost, false)) comm->state = ncclRemoteError;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  note("abort");
  if (comm->segment) comm->segment->abort();
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  note("finalize");
  comm->polls_to_go = strikes(fault(), "stay", comm->segment->rank()) ? -1 : 2;
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  note("destroy");
  delete comm;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSystemError ? "unhandled system error" : "some error";
}

const char* ncclGetLastError(ncclComm_t comm) {
  return comm == nullptr ? "" : comm->last_error.c_str();
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  note_call("all_reduce", count, type, stream);
  if (op != ncclSum) return ncclInvalidArgument;
  const size_t bytes = count * size_of(type);
  return enqueue(comm, reinterpret_cast<Stream*>(stream), {{from, bytes, false}, {to, bytes, true}},
                 [=](SharedSegment& segment) {
                   sum(segment, of_kernel(from), bytes, 0, bytes, type, of_kernel(to));
                 });
}

ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  note_call("reduce_scatter", count, type, stream);
  if (op != ncclSum) return ncclInvalidArgument;
  const size_t part = count * size_of(type);
  const size_t whole = part * static_cast<size_t>(comm->segment->ranks());
  return enqueue(comm, reinterpret_cast<Stream*>(stream), {{from, whole, false}, {to, part, true}},
                 [=](SharedSegment& segment) {
                   const size_t begin = static_cast<size_t>(segment.rank()) * part;
                   sum(segment, of_kernel(from), whole, begin, begin + part, type, of_kernel(to));
                 });
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  note_call("all_gather", count, type, stream);
  const size_t part = count * size_of(type);
  const auto ranks = static_cast<size_t>(comm->segment->ranks());
  const auto rank = static_cast<size_t>(comm->segment->rank());
  char* begin = static_cast<char*>(to);
  std::vector<Use> uses{{from, part, false}, {to, rank * part, true}};
  uses.push_back({begin + (rank + 1) * part, (ranks - rank - 1) * part, true});
  if (from != begin + rank * part) uses.push_back({begin + rank * part, part, true});
  return enqueue(
      comm, reinterpret_cast<Stream*>(stream), uses, [=, own = rank](SharedSegment& segment) {
        show(segment, of_kernel(from), part,
             [&](int rank, const char* data, size_t offset, size_t piece) {
               char* place = of_kernel(begin) + static_cast<size_t>(rank) * part + offset;
               if (static_cast<size_t>(rank) == own && from == begin + own * part) return;
               std::memcpy(place, data, piece);
             });
      });
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  note_call("broadcast", count, type, stream);
  const size_t bytes = count * size_of(type);
  return enqueue(comm, reinterpret_cast<Stream*>(stream), {{from, bytes, false}, {to, bytes, true}},
                 [=](SharedSegment& segment) {
                   show(segment, of_kernel(from), bytes,
                        [&](int rank, const char* data, size_t offset, size_t piece) {
                          if (rank == root) std::memcpy(of_kernel(to) + offset, data, piece);
                        });
                 });
}

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  note_call("send", count, type, stream, peer);
  return transfer(comm, reinterpret_cast<Stream*>(stream),
                  {true, const_cast<void*>(from), count * size_of(type), peer});
}

ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  note_call("receive", count, type, stream, peer);
  return transfer(comm, reinterpret_cast<Stream*>(stream),
                  {false, to, count * size_of(type), peer});
}

ncclResult_t ncclGroupStart() {
  note("group_start");
  ++group.depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  note("group_end");
  if (--group.depth > 0) return ncclSuccess;
  Group done;
  std::swap(done, group);
  if (done.comm == nullptr) return ncclSuccess;
  std::vector<Use> uses;
  for (const Transfer& transfer : done.transfers)
    uses.push_back({transfer.data, transfer.bytes, !transfer.sends});
  return enqueue(done.comm, done.stream, uses,
                 [transfers = std::move(done.transfers)](SharedSegment& segment) {
                   exchange(segment, transfers);
                 });
}

}  // extern "C"
