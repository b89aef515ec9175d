#pragma once

#include <c10/core/Allocator.h>

namespace kessoku::stand_ins {

c10::Allocator* pinned_allocator();
bool is_pinned(const void* data);

}  // namespace kessoku::stand_ins
