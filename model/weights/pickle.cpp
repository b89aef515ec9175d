#include "model/weights/pickle.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <map>

#include "base/error.h"

namespace kessoku::model {

namespace {

// Many times what a checkpoint of Stable Diffusion has with everything that trainers add to it.
constexpr size_t kMaxOpcodes = 8'000'000;
constexpr size_t kMaxNodes = 1'000'000;

// Nodes that all share, as nothing can be put into them.
constexpr PickleId kNone = 0, kFalse = 1, kTrue = 2, kEmptyTuple = 3;

/// The stack machine that a pickle is a program for (Python's pickletools.py describes its
/// operations), except that it calls nothing.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& where)
      : text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), where_(where) {
    add({PickleKind::kNone});
    add({PickleKind::kBool, 0});
    add({PickleKind::kBool, 1});
    add({PickleKind::kTuple});
  }

  Pickle run() {
    for (size_t done = 0; done < kMaxOpcodes; ++done) {
      const auto op = static_cast<unsigned char>(take(1)[0]);
      if (op == '.') {
        const PickleId root = pop();
        return {std::move(nodes_), root, at_};
      }
      if (!run_number(op) && !run_text(op) && !run_container(op) && !run_stack(op) &&
          !run_call(op)) {
        fail(fmt::format("operation 0x{:02x} is unknown", op));
      }
    }
    fail(fmt::format("it has more than {} operations", kMaxOpcodes));
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw DataError(fmt::format("{}: its pickle is damaged at byte {}: {}", where_, at_, problem));
  }

  // Reading.

  std::string_view take(uint64_t count) {
    if (count > text_.size() - at_) fail("it ends too early");
    const std::string_view taken = text_.substr(at_, count);
    at_ += count;
    return taken;
  }
  std::string_view take_line() {
    const size_t end = text_.find('\n', at_);
    if (end == std::string_view::npos) fail("a line has no end");
    const std::string_view line = take(end - at_);
    ++at_;
    return line;
  }
  /// Little-endian.
  template <typename T>
  T take_number() {
    T value{};
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  template <typename T>
  T parse(std::string_view line) const {
    T value{};
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || end != line.data() + line.size()) fail("a number is malformed");
    return value;
  }

  // Nodes and stack.

  PickleId add(PickleNode node) {
    if (nodes_.size() == kMaxNodes) fail(fmt::format("it has more than {} parts", kMaxNodes));
    nodes_.push_back(std::move(node));
    return static_cast<PickleId>(nodes_.size() - 1);
  }
  void push(PickleId id) { stack_.push_back(id); }
  void push(PickleNode node) { push(add(std::move(node))); }
  void push_text(std::string_view text) { push({PickleKind::kText, 0, 0, text}); }
  void push_int(int64_t value) { push({PickleKind::kInt, value}); }
  /// What lies below the newest mark is out of reach, as in Python.
  void require(size_t count) const {
    if (stack_.size() - (marks_.empty() ? 0 : marks_.back()) < count) fail("its stack is empty");
  }
  PickleId top() const {
    require(1);
    return stack_.back();
  }
  PickleId pop() {
    const PickleId id = top();
    stack_.pop_back();
    return id;
  }
  std::vector<PickleId> pop_many(size_t count) {
    require(count);
    const std::vector<PickleId> ids(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return ids;
  }
  std::vector<PickleId> pop_to_mark() {
    if (marks_.empty()) fail("a mark is missing");
    std::vector<PickleId> ids = pop_many(stack_.size() - marks_.back());
    marks_.pop_back();
    return ids;
  }

  // Operations, by kind; each returns whether `op` is one of its own.

  bool run_number(unsigned char op) {
    // clang-format off
    switch (op) {
      case 'N': push(kNone); return true;
      case 0x88: push(kTrue); return true;
      case 0x89: push(kFalse); return true;
      case 'J': push_int(take_number<int32_t>()); return true;
      case 'K': push_int(take_number<uint8_t>()); return true;
      case 'M': push_int(take_number<uint16_t>()); return true;
      case 0x8a: push_long(take(take_number<uint8_t>())); return true;
      case 0x8b: push_long(take(take_length<int32_t>())); return true;
      case 'G':
        push({PickleKind::kFloat, 0,
              std::bit_cast<double>(__builtin_bswap64(take_number<uint64_t>()))});
        return true;
      case 'I': push_text_int(take_line()); return true;
      case 'L': push_text_int(take_line()); return true;
      case 'F': push({PickleKind::kFloat, 0, parse<double>(take_line())}); return true;
      default: return false;
    }
    // clang-format on
  }
  /// A length that must not be negative.
  template <typename T>
  uint64_t take_length() {
    const T length = take_number<T>();
    if (length < 0) fail("a length is negative");
    return static_cast<uint64_t>(length);
  }
  /// Two's complement of any length, little-endian.
  void push_long(std::string_view bytes) {
    if (bytes.size() > sizeof(int64_t)) return push_text(bytes);
    const bool negative = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80) != 0;
    uint64_t value = negative ? ~uint64_t{0} : 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    push_int(static_cast<int64_t>(value));
  }
  void push_text_int(std::string_view line) {
    if (line == "00") return push(kFalse);
    if (line == "01") return push(kTrue);
    if (line.ends_with('L')) line.remove_suffix(1);
    push_int(parse<int64_t>(line));
  }

  bool run_text(unsigned char op) {
    // clang-format off
    switch (op) {
      case 'X': push_text(take(take_number<uint32_t>())); return true;
      case 0x8c: push_text(take(take_number<uint8_t>())); return true;
      case 0x8d: push_text(take(take_number<uint64_t>())); return true;
      case 'T': push_text(take(take_length<int32_t>())); return true;
      case 'U': push_text(take(take_number<uint8_t>())); return true;
      case 'B': push_text(take(take_number<uint32_t>())); return true;
      case 'C': push_text(take(take_number<uint8_t>())); return true;
      case 0x8e: push_text(take(take_number<uint64_t>())); return true;
      case 0x96: push_text(take(take_number<uint64_t>())); return true;
      case 'V': push_text(take_line()); return true;
      case 'S': {
        const std::string_view line = take_line();
        if (line.size() < 2 || line.front() != line.back()) fail("a string has no quotes");
        push_text(line.substr(1, line.size() - 2));
        return true;
      }
      default: return false;
    }
    // clang-format on
  }

  bool run_container(unsigned char op) {
    // clang-format off
    switch (op) {
      case ')': push(kEmptyTuple); return true;
      case ']': push({PickleKind::kList}); return true;
      case 0x8f: push({PickleKind::kList}); return true;
      case '}': push({PickleKind::kDict}); return true;
      case '(': marks_.push_back(stack_.size()); return true;
      case 0x85: push_items(PickleKind::kTuple, pop_many(1)); return true;
      case 0x86: push_items(PickleKind::kTuple, pop_many(2)); return true;
      case 0x87: push_items(PickleKind::kTuple, pop_many(3)); return true;
      case 't': push_items(PickleKind::kTuple, pop_to_mark()); return true;
      case 0x91: push_items(PickleKind::kTuple, pop_to_mark()); return true;
      case 'l': push_items(PickleKind::kList, pop_to_mark()); return true;
      case 'd': push_items(PickleKind::kDict, pairs(pop_to_mark())); return true;
      case 'a': append(pop_many(1)); return true;
      case 'e': append(pop_to_mark()); return true;
      case 0x90: append(pop_to_mark()); return true;
      case 's': set(pop_many(2)); return true;
      case 'u': set(pairs(pop_to_mark())); return true;
      default: return false;
    }
    // clang-format on
  }
  void push_items(PickleKind kind, std::vector<PickleId> items) {
    push({kind, 0, 0, {}, std::move(items)});
  }
  std::vector<PickleId> pairs(std::vector<PickleId> items) const {
    if (items.size() % 2 != 0) fail("a key has no value");
    return items;
  }
  void append(const std::vector<PickleId>& items) {
    PickleNode& target = nodes_[top()];
    if (target.kind == PickleKind::kObject) return;  // a list of a class of its own: of no interest
    if (target.kind != PickleKind::kList) fail("something is appended to what is no list");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }
  void set(const std::vector<PickleId>& items) {
    PickleNode& target = nodes_[top()];
    if (target.kind != PickleKind::kDict && target.kind != PickleKind::kObject) {
      fail("a key is set in what is no dictionary");
    }
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  bool run_stack(unsigned char op) {
    // clang-format off
    switch (op) {
      case 0x80: take(1); return true;   // the protocol's number
      case 0x95: take(8); return true;   // a frame's length
      case '0':
        if (!marks_.empty() && marks_.back() == stack_.size()) {
          marks_.pop_back();
        } else {
          pop();
        }
        return true;
      case '1': pop_to_mark(); return true;
      case '2': push(top()); return true;
      case 'p': put(parse<uint64_t>(take_line())); return true;
      case 'q': put(take_number<uint8_t>()); return true;
      case 'r': put(take_number<uint32_t>()); return true;
      case 0x94: put(memo_.size()); return true;
      case 'g': get(parse<uint64_t>(take_line())); return true;
      case 'h': get(take_number<uint8_t>()); return true;
      case 'j': get(take_number<uint32_t>()); return true;
      default: return false;
    }
    // clang-format on
  }
  void put(uint64_t index) {
    if (memo_.size() == kMaxNodes) fail(fmt::format("it remembers more than {} parts", kMaxNodes));
    memo_[index] = top();
  }
  void get(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) fail(fmt::format("it remembers nothing as {}", index));
    push(found->second);
  }

  bool run_call(unsigned char op) {
    // clang-format off
    switch (op) {
      case 'c': push_line_global(); return true;
      case 0x93: push_items(PickleKind::kGlobal, pop_many(2)); return true;
      case 'R': push_items(PickleKind::kObject, pop_many(2)); return true;
      case 0x81: push_items(PickleKind::kObject, pop_many(2)); return true;
      case 0x92:  // class, arguments, named arguments
        pop();
        push_items(PickleKind::kObject, pop_many(2));
        return true;
      case 'i': {
        const std::vector<PickleId> arguments = pop_to_mark();
        push_line_global();
        push_call(pop(), arguments);
        return true;
      }
      case 'o': {
        std::vector<PickleId> items = pop_to_mark();
        if (items.empty()) fail("a class is missing");
        push_call(items[0], {items.begin() + 1, items.end()});
        return true;
      }
      case 'b': pop(); require(1); return true;  // an object's state: of no interest
      case 'Q': push_items(PickleKind::kPersistent, pop_many(1)); return true;
      case 'P':
        push_text(take_line());
        push_items(PickleKind::kPersistent, pop_many(1));
        return true;
      case 0x82: case 0x83: case 0x84: fail("it refers to a registry of extensions");
      case 0x97: case 0x98: fail("it refers to a buffer outside the file");
      default: return false;
    }
    // clang-format on
  }
  void push_line_global() {
    const PickleId module = add({PickleKind::kText, 0, 0, take_line()});
    push_items(PickleKind::kGlobal, {module, add({PickleKind::kText, 0, 0, take_line()})});
  }
  void push_call(PickleId callable, std::vector<PickleId> arguments) {
    const PickleId tuple = add({PickleKind::kTuple, 0, 0, {}, std::move(arguments)});
    push_items(PickleKind::kObject, {callable, tuple});
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  std::vector<PickleNode> nodes_;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  ///< heights of the stack
  // Ordered: hashes of numbers that the file chooses would collide on its wish.
  std::map<uint64_t, PickleId> memo_;
};

}  // namespace

std::string Pickle::global_name(PickleId id) const {
  constexpr size_t kMaxName = 200;
  const PickleNode& node = nodes[id];
  if (node.kind != PickleKind::kGlobal) return {};
  const std::string_view module = nodes[node.items[0]].text, name = nodes[node.items[1]].text;
  if (module.size() > kMaxName || name.size() > kMaxName) return {};
  return fmt::format("{}.{}", module, name);
}

Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where) {
  return Machine(bytes, where).run();
}

}  // namespace kessoku::model
