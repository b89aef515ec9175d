#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kessoku::metrics {

/// `text` as it may stand in HTML, between tags or in a quoted attribute.
std::string escape_html(std::string_view text);

/// A column of a table: its heading and the CSS classes of its cells.
struct TableColumn {
  std::string heading, classes;
};

/// A table that scrolls sideways where it is too wide. The cells are HTML already, headings are
/// escaped here; the first cell of a row heads it. Without any heading there is no head.
std::string html_table(const std::vector<TableColumn>& columns,
                       const std::vector<std::vector<std::string>>& rows);

/// A part of a page. `title` and `content` are HTML.
std::string section(const std::string& title, const std::string& content);

/// Base64 as in RFC 4648, with padding.
std::string base64(std::string_view bytes);

/// "48,000".
std::string grouped(uint64_t value);

/// Four significant digits, without trailing zeros; "–" if it is not finite.
std::string short_number(double value);

}  // namespace kessoku::metrics
