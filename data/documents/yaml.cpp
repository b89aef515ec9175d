#include <fmt/format.h>
#include <yaml.h>

#include "data/documents/node_builder.h"

namespace kessoku::data {

namespace {

constexpr uint64_t kMostBytes = 1 << 20;
constexpr std::string_view kStandardTags = "tag:yaml.org,2002:";

std::string to_string(const yaml_char_t* text) {
  return text == nullptr ? std::string() : reinterpret_cast<const char*>(text);
}

class YamlReader {
 public:
  YamlReader(const std::filesystem::path& path, const std::string& text)
      : text_(text), builder_(path.string()) {
    if (yaml_parser_initialize(&parser_) == 0) throw std::bad_alloc();
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  YamlReader(const YamlReader&) = delete;
  ~YamlReader() { yaml_parser_delete(&parser_); }

  Value read() {
    while (next()) {
    }
    return builder_.take();
  }

 private:
  /// False at the end of the file.
  bool next() {
    yaml_event_t event;
    if (yaml_parser_parse(&parser_, &event) == 0) fail();
    const std::unique_ptr<yaml_event_t, void (*)(yaml_event_t*)> deletes(&event, yaml_event_delete);
    take(event);
    return event.type != YAML_STREAM_END_EVENT;
  }

  void take(const yaml_event_t& event) {
    const uint64_t line = event.start_mark.line + 1;
    switch (event.type) {
      case YAML_DOCUMENT_START_EVENT:
        if (++documents_ > 1) builder_.fail(line, "a second document ('---'); only one is read");
        return;
      case YAML_SCALAR_EVENT: {
        const auto& scalar = event.data.scalar;
        const std::string tag = check_tag(line, scalar.tag);
        const bool plain = scalar.style == YAML_PLAIN_SCALAR_STYLE && tag != "str";
        return builder_.scalar(
            line, std::string(reinterpret_cast<const char*>(scalar.value), scalar.length), plain,
            to_string(scalar.anchor));
      }
      case YAML_SEQUENCE_START_EVENT:
        check_tag(line, event.data.sequence_start.tag);
        return builder_.begin(line, Value::Kind::kList,
                              to_string(event.data.sequence_start.anchor));
      case YAML_MAPPING_START_EVENT:
        check_tag(line, event.data.mapping_start.tag);
        return builder_.begin(line, Value::Kind::kMap, to_string(event.data.mapping_start.anchor));
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        return builder_.end();
      case YAML_ALIAS_EVENT:
        return builder_.alias(line, to_string(event.data.alias.anchor));
      default:
        return;
    }
  }

  /// The tag's name if it is one of YAML's own: others would be programs' types.
  std::string check_tag(uint64_t line, const yaml_char_t* tag) const {
    const std::string name = to_string(tag);
    if (name.empty() || name == "!") return name;
    if (!name.starts_with(kStandardTags) || name.find("python") != std::string::npos)
      builder_.fail(line, fmt::format("the tag {} is not read", name.substr(0, 80)));
    return name.substr(kStandardTags.size());
  }

  [[noreturn]] void fail() const {
    uint64_t line = parser_.problem_mark.line + 1;
    if (parser_.error == YAML_READER_ERROR) {  // knows no line
      const size_t offset = std::min(parser_.problem_offset, text_.size());
      line = 1 + static_cast<uint64_t>(
                     std::count(text_.begin(), text_.begin() + static_cast<int64_t>(offset), '\n'));
    }
    builder_.fail(line, fmt::format("not YAML: {}",
                                    parser_.problem == nullptr ? "damaged" : parser_.problem));
  }

  const std::string& text_;
  DocumentBuilder builder_;
  yaml_parser_t parser_{};
  int documents_ = 0;
};

}  // namespace

Value read_yaml(const std::filesystem::path& path, const OnTextWarning& warn) {
  const std::string text = read_document_text(path, kMostBytes, warn);
  return YamlReader(path, text).read();
}

}  // namespace kessoku::data
