#pragma once

#include <optional>
#include <string>

namespace kessoku::launcher {

/// Bytes a second: "25GB/s", "400MiB/s", "100Gbit/s", "100Gbps"; k, M, G, T are powers of 1000, Ki,
/// Mi … of 1024; B are bytes, b and bit are bits. Throws UsageError that names `option`.
double parse_bandwidth(const std::string& text, const std::string& option);

/// Seconds: "0.5s", "20ms", "5us", "100ns", or "2" (s); nothing if it is no duration.
std::optional<double> read_seconds(const std::string& text);
/// The same. Throws UsageError that names `option`.
double parse_seconds(const std::string& text, const std::string& option);

/// "1.5 GB".
std::string bytes_text(double bytes);

/// "12.3 ms".
std::string seconds_text(double seconds);

}  // namespace kessoku::launcher
