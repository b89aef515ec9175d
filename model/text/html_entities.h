#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace kessoku::model {

/// The characters of an HTML5 entity's name (without "&", with its ";" if it has one, as in
/// "amp;"); empty if there is none of that name.
std::u32string_view html_entity(std::string_view name);

/// What Windows-1252 has in the place of a C1 control (0x80 … 0x9F), or that control.
char32_t windows_1252(char32_t control);

/// Python's html.unescape: character references by name and by number, where HTML allows it without
/// a semicolon, and mistaken numbers as browsers take them.
std::u32string unescape_html(std::u32string_view text);

}  // namespace kessoku::model
