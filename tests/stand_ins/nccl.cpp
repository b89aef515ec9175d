// Stands in for libnccl.so.2 on a machine without GPUs: the same calls over host memory that the
// processes of one host share. Each call is noted; what KESSOKU_STAND_IN_FAULT names goes wrong:
//
//     init          no rank ever gets through initialization
//     refuse:N      call N (1, 2, …) of a collective returns an error
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

#include "tests/stand_ins/shared_segment.h"
#include "tests/stand_ins/stream.h"

using kessoku::stand_ins::Aborted;
using kessoku::stand_ins::note;
using kessoku::stand_ins::SharedSegment;
using kessoku::stand_ins::Stream;

struct ncclComm {
  std::shared_ptr<SharedSegment> segment;
  std::string last_error;
  std::atomic<ncclResult_t> state = ncclSuccess;
  int polls_to_go = 2;  // of the state, before the communicator is ready
  int calls = 0;
  bool destroyed = false;
};

namespace {

struct Transfer {
  bool sends;
  char* data;
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
      std::memcpy(place_, transfer.data + offset_, piece);
      ++lane_->sent;
    } else {
      // NCCL would hang, or write too far.
      if (lane_->bytes != transfer.bytes) {
        std::fprintf(stderr, "stand-in: receives %zu bytes where %zu are sent\n", transfer.bytes,
                     static_cast<size_t>(lane_->bytes));
        std::abort();
      }
      std::memcpy(transfer.data + offset_, place_, piece);
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

/// Has the stream carry out `work`, unless a fault strikes this call.
ncclResult_t enqueue(ncclComm* comm, Stream* stream, std::function<void(SharedSegment&)> work) {
  if (stream == nullptr) return ncclInvalidArgument;  // the compute stream: nothing would overlap
  if (comm->state != ncclSuccess) return ncclInvalidUsage;
  const Fault fault = ::fault();
  const int rank = comm->segment->rank();
  const bool now = ++comm->calls == fault.call;
  if (now && strikes(fault, "refuse", rank)) {
    comm->last_error = "the stand-in refuses this call";
    return ncclSystemError;
  }
  const bool lost = now && strikes(fault, "lose", rank);
  const bool hangs = lost || (now && strikes(fault, "hang", rank));
  // The task outlives a communicator that is aborted.
  stream->enqueue([segment = comm->segment, work = std::move(work), hangs] {
    try {
      while (hangs) {
        if (segment->aborted()) throw Aborted();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      // Long enough for those who do not wait to be found out.
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      segment->begin();
      if (segment->aborted()) throw Aborted();  // others are no longer where this call expects them
      work(*segment);
    } catch (const Aborted&) {
    }
  });
  if (lost) comm->state = ncclRemoteError;
  return ncclSuccess;
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
  note("init ranks=" + std::to_string(ranks) + " blocking=" + std::to_string(config->blocking));
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
  if (comm->polls_to_go > 0) --comm->polls_to_go;
  *state = busy ? ncclInProgress : comm->state.load();
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
  return enqueue(comm, reinterpret_cast<Stream*>(stream), [=](SharedSegment& segment) {
    const size_t bytes = count * size_of(type);
    sum(segment, static_cast<const char*>(from), bytes, 0, bytes, type, static_cast<char*>(to));
  });
}

ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  note_call("reduce_scatter", count, type, stream);
  if (op != ncclSum) return ncclInvalidArgument;
  return enqueue(comm, reinterpret_cast<Stream*>(stream), [=](SharedSegment& segment) {
    const size_t part = count * size_of(type);
    const size_t begin = static_cast<size_t>(segment.rank()) * part;
    sum(segment, static_cast<const char*>(from), part * static_cast<size_t>(segment.ranks()), begin,
        begin + part, type, static_cast<char*>(to));
  });
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  note_call("all_gather", count, type, stream);
  return enqueue(comm, reinterpret_cast<Stream*>(stream), [=](SharedSegment& segment) {
    const size_t part = count * size_of(type);
    show(segment, static_cast<const char*>(from), part,
         [&](int rank, const char* data, size_t offset, size_t piece) {
           std::memcpy(static_cast<char*>(to) + static_cast<size_t>(rank) * part + offset, data,
                       piece);
         });
  });
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  note_call("broadcast", count, type, stream);
  return enqueue(comm, reinterpret_cast<Stream*>(stream), [=](SharedSegment& segment) {
    show(segment, static_cast<const char*>(from), count * size_of(type),
         [&](int rank, const char* data, size_t offset, size_t piece) {
           if (rank == root) std::memcpy(static_cast<char*>(to) + offset, data, piece);
         });
  });
}

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  note_call("send", count, type, stream, peer);
  return transfer(comm, reinterpret_cast<Stream*>(stream),
                  {true, static_cast<char*>(const_cast<void*>(from)), count * size_of(type), peer});
}

ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  note_call("receive", count, type, stream, peer);
  return transfer(comm, reinterpret_cast<Stream*>(stream),
                  {false, static_cast<char*>(to), count * size_of(type), peer});
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
  return enqueue(done.comm, done.stream,
                 [transfers = std::move(done.transfers)](SharedSegment& segment) {
                   exchange(segment, transfers);
                 });
}

}  // extern "C"
