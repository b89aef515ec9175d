#pragma once

#include <string>
#include <vips/vips8>

namespace kessoku::data {

/// What libvips says of an error, on one line; empties its log.
std::string describe(const vips::VError& error);

}  // namespace kessoku::data
