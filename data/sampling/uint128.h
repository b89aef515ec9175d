#pragma once

namespace kessoku::data {

__extension__ typedef unsigned __int128 uint128;

}  // namespace kessoku::data
