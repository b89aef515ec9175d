#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kessoku::metrics {

/// `text` as it may stand in HTML, between tags or in a quoted attribute.
std::string escape_html(std::string_view text);

/// Base64 as in RFC 4648, with padding.
std::string base64(std::string_view bytes);

/// "48,000".
std::string grouped(uint64_t value);

/// Four significant digits, without trailing zeros; "–" if it is not finite.
std::string short_number(double value);

}  // namespace kessoku::metrics
