#pragma once

#include <string>

namespace kessoku::stand_ins {

/// Whether this process's context is broken. As with CUDA this lasts until the process ends.
bool is_broken();

/// From now on all calls fail with `words`. `code` is CUDA's. The first fault counts.
void break_gpu(int code, const std::string& words);

/// Throws c10::AcceleratorError on a broken GPU.
void require_health();

}  // namespace kessoku::stand_ins
