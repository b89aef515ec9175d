#pragma once

#include <ATen/core/Tensor.h>

#include "tests/stand_ins/stream_order.h"

namespace kessoku::stand_ins {

/// The host waits. The process leaves the count in a file under the name in KESSOKU_STAND_IN_WAITS,
/// with ".RANK" behind it.
void count_host_wait();

/// Waits for all that `stream` was asked for, and counts it.
void wait_for_stream(int stream);

/// The host knows that `clock` is reached: what was copied until then has been read and is there.
/// Throws c10::Error if the host freed or changed a copy's source.
void host_knows(const Clock& clock);

/// `source`, of the host, is copied when the stream comes to it.
void read_late(const at::Tensor& source, int stream);

/// `target`, of the host, gets `values` when the stream comes to it, and holds NaN until then.
void write_late(const at::Tensor& target, const at::Tensor& values, int stream);

}  // namespace kessoku::stand_ins
