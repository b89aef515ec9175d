#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "data/documents/node_builder.h"

namespace kessoku::data {

namespace {

using nlohmann::json;

constexpr uint64_t kMostBytes = uint64_t{4} << 20;          ///< of a document
constexpr uint64_t kMostManifestBytes = uint64_t{1} << 30;  ///< of one that is read by entries

/// Where the parser is in the text, and the line there.
struct Position {
  const char* counted;  ///< up to here lines have been counted
  const char* at;
  uint64_t line;

  uint64_t current_line() {
    line += static_cast<uint64_t>(std::count(counted, at, '\n'));
    counted = at;
    return line;
  }
};

/// Reads the text and leaves behind where it was: nlohmann's handlers are not told.
class TracingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TracingIterator(const char* at, Position* position) : at_(at), position_(position) {}
  reference operator*() const {
    position_->at = at_;
    return *at_;
  }
  TracingIterator& operator++() {
    ++at_;
    return *this;
  }
  TracingIterator operator++(int) { return {at_++, position_}; }
  bool operator==(const TracingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  Position* position_;
};

/// nlohmann's events → DocumentBuilder.
class JsonHandler : public nlohmann::json_sax<json> {
 public:
  JsonHandler(DocumentBuilder& builder, Position& position)
      : builder_(builder), position_(position) {}

  bool null() override { return plain("null"); }
  bool boolean(bool value) override { return plain(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return plain(fmt::format("{}", value)); }
  bool number_unsigned(number_unsigned_t value) override { return plain(fmt::format("{}", value)); }
  bool number_float(number_float_t, const string_t& text) override { return plain(text); }
  bool string(string_t& text) override { return add(std::move(text), false); }
  bool key(string_t& text) override { return add(std::move(text), false); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return begin(Value::Kind::kMap); }
  bool start_array(size_t) override { return begin(Value::Kind::kList); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    // "[json.exception...] parse error at line 1, column 2: ..." counts lines of this text only.
    const std::string_view what = error.what();
    const size_t reason = what.find(": ");
    builder_.fail(
        position_.current_line(),
        fmt::format("not JSON: {}", reason == what.npos ? what : what.substr(reason + 2)));
  }

 private:
  bool plain(std::string text) { return add(std::move(text), true); }
  bool add(std::string text, bool plain) {
    builder_.scalar(position_.current_line(), std::move(text), plain);
    return true;
  }
  bool begin(Value::Kind kind) {
    builder_.begin(position_.current_line(), kind);
    return true;
  }
  bool end() {
    builder_.end();
    return true;
  }

  DocumentBuilder& builder_;
  Position& position_;
};

Value parse(DocumentBuilder builder, std::string_view text, uint64_t line) {
  Position position{text.data(), text.data(), line};
  JsonHandler handler(builder, position);
  json::sax_parse(TracingIterator(text.data(), &position),
                  TracingIterator(text.data() + text.size(), &position), &handler);
  return builder.take();
}

}  // namespace

Value read_json(const std::filesystem::path& path, const OnTextWarning& warn) {
  return parse_json(path.string(), read_document_text(path, kMostBytes, warn), 1);
}

Value parse_json(const std::string& file, std::string_view text, uint64_t line) {
  return parse(DocumentBuilder(file), text, line);
}

void read_json_entries(const std::filesystem::path& path, Value::Kind root, const OnEntry& on_entry,
                       const OnTextWarning& warn) {
  DocumentBuilder builder(path.string(), on_entry);
  builder.expect(root);
  parse(std::move(builder), read_document_text(path, kMostManifestBytes, warn), 1);
}

}  // namespace kessoku::data
