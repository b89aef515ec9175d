#pragma once

#include <c10/core/Device.h>

namespace kessoku::stand_ins {

/// How many GPUs there are (KESSOKU_STAND_IN_GPUS; 4 without it).
int device_count();

/// Of this thread.
c10::DeviceIndex current_device();
/// Of this thread on its device; 0 is the default one.
int current_stream();

/// Whether this thread chose its device, or a guard does for the time being.
bool has_chosen_device();

/// What begins a context on the thread's GPU: the first one, if the thread never chose. Throws
/// c10::Error then, and on a broken GPU.
void touch_device();

}  // namespace kessoku::stand_ins
