#include "runtime/config.h"

#include <toml++/toml.h>

#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace kessoku::runtime {

namespace {

using StringPairs = std::vector<std::pair<std::string, std::string>>;

/// All sections and keys, in the order of the resolved file. `visit` is called as visit(section, key, field).
template <typename Config, typename Visit>
void visit_fields(Config& c, Visit&& visit) {
  visit("", "name", c.name);
  visit("", "seed", c.seed);
  visit("model", "path", c.model.path);
  visit("data", "store", c.data.store);
  visit("data", "caption_dropout", c.data.caption_dropout);
  visit("data", "caption_rename", c.data.caption_rename);
  visit("data", "shuffle_tags", c.data.shuffle_tags);
  visit("data", "flip", c.data.flip);
  visit("data", "threads", c.data.threads);
  visit("data", "prefetch", c.data.prefetch);
  visit("mixture", "pass_draws", c.mixture.pass_draws);
  visit("mixture", "", c.mixture.rules);
  visit("train", "target", c.train.target);
  visit("train", "steps", c.train.steps);
  visit("train", "global_batch", c.train.global_batch);
  visit("train", "micro_batch", c.train.micro_batch);
  visit("train", "precision", c.train.precision);
  visit("train", "device", c.train.device);
  visit("train", "threads", c.train.threads);
  visit("train", "prediction", c.train.prediction);
  visit("vae", "l2_weight", c.vae.l2_weight);
  visit("vae", "gradient_weight", c.vae.gradient_weight);
  visit("vae", "kl_weight", c.vae.kl_weight);
  visit("vae", "fit_scaling_factor", c.vae.fit_scaling_factor);
  visit("optimizer", "name", c.optimizer.name);
  visit("optimizer", "lr", c.optimizer.lr);
  visit("optimizer", "text_encoder_lr", c.optimizer.text_encoder_lr);
  visit("optimizer", "weight_decay", c.optimizer.weight_decay);
  visit("optimizer", "no_decay", c.optimizer.no_decay);
  visit("optimizer", "betas", c.optimizer.betas);
  visit("optimizer", "eps", c.optimizer.eps);
  visit("optimizer", "grad_clip", c.optimizer.grad_clip);
  visit("optimizer", "schedule", c.optimizer.schedule);
  visit("optimizer", "warmup_steps", c.optimizer.warmup_steps);
  visit("optimizer", "shard", c.optimizer.shard);
  visit("ema", "decay", c.ema.decay);
  visit("checkpoint", "every_steps", c.checkpoint.every_steps);
  visit("checkpoint", "every_minutes", c.checkpoint.every_minutes);
  visit("checkpoint", "keep", c.checkpoint.keep);
  visit("checkpoint", "weights_dtype", c.checkpoint.weights_dtype);
  visit("sample", "every_steps", c.sample.every_steps);
  visit("sample", "prompts", c.sample.prompts);
  visit("sample", "negative", c.sample.negative);
  visit("sample", "steps", c.sample.steps);
  visit("sample", "cfg", c.sample.cfg);
  visit("sample", "solver", c.sample.solver);
  visit("sample", "size", c.sample.size);
  visit("metrics", "address", c.metrics.address);
  visit("metrics", "port", c.metrics.port);
  visit("metrics", "file_sd", c.metrics.file_sd);
  visit("audit", "batches", c.audit.batches);
}

/// "run.toml, line 12" for errors; values given by --set have no line of the file.
std::string place(const std::filesystem::path& file, const toml::node& node) {
  const auto line = node.source().begin.line;
  return line == 0 || !node.source().path ? "--set" : fmt::format("{}, line {}", file.string(), line);
}

class Reader {
 public:
  Reader(const std::filesystem::path& file, const toml::table& root) : file_(file), root_(root) {}

  template <typename Field>
  void operator()(const char* section, const char* key, Field& field) {
    known_.emplace_back(section, key);
    const toml::table* table = *section ? root_[section].as_table() : &root_;
    if (table == nullptr) return;
    if constexpr (std::is_same_v<Field, data::MixtureRules>) {
      read_rules(*table, field);
    } else if (const toml::node* node = table->get(key)) {
      read(*node, *section ? fmt::format("{}.{}", section, key) : key, field);
    }
  }

  /// Every key of the file must have been asked for.
  void reject_unknown() const {
    for (const auto& [key, node] : root_) {
      const std::string name(key.str());
      if (is_section(name)) {
        if (!node.is_table()) fail(node, name, "is a section: write [" + name + "]");
        if (name != "mixture") reject_unknown_in(name, *node.as_table());
      } else if (!is_known("", name)) {
        fail_unknown(node, name, nearest_key(name));
      }
    }
  }

 private:
  [[noreturn]] void fail(const toml::node& node, const std::string& key, const std::string& what) const {
    throw UsageError(fmt::format("{}: {} {}", place(file_, node), key, what));
  }
  [[noreturn]] void fail_unknown(const toml::node& node, const std::string& key, const std::string& nearest) const {
    fail(node, key, "is not a key of a run file" +
                        (nearest.empty() ? std::string() : fmt::format("; did you mean {}?", nearest)));
  }

  template <typename Integer>
    requires std::is_integral_v<Integer>
  void read(const toml::node& node, const std::string& key, Integer& field) const {
    if constexpr (std::is_same_v<Integer, bool>) {
      if (!node.is_boolean()) fail(node, key, "must be true or false");
      field = node.as_boolean()->get();
    } else {
      if (!node.is_integer()) fail(node, key, "must be a whole number");
      const int64_t value = node.as_integer()->get();
      if (std::is_unsigned_v<Integer> && value < 0) fail(node, key, "must not be negative");
      field = static_cast<Integer>(value);
    }
  }
  void read(const toml::node& node, const std::string& key, double& field) const {
    const auto value = node.value<double>();
    if (!value || !(node.is_floating_point() || node.is_integer())) fail(node, key, "must be a number");
    field = *value;
  }
  void read(const toml::node& node, const std::string& key, std::string& field) const {
    if (!node.is_string()) fail(node, key, "must be text in quotes");
    field = node.as_string()->get();
  }
  template <typename Item>
  void read(const toml::node& node, const std::string& key, std::vector<Item>& field) const {
    if (!node.is_array()) fail(node, key, "must be a list in [ ]");
    field.clear();
    for (const toml::node& item : *node.as_array()) read(item, key, field.emplace_back());
  }
  void read(const toml::node& node, const std::string& key, std::pair<std::string, std::string>& field) const {
    const toml::array* pair = node.as_array();
    if (pair == nullptr || pair->size() != 2) fail(node, key, R"(must be pairs: [["from", "to"], ...])");
    read(*pair->get(0), key, field.first);
    read(*pair->get(1), key, field.second);
  }

  void read_rules(const toml::table& table, data::MixtureRules& rules) const {
    std::vector<std::pair<toml::source_position, size_t>> order;
    data::MixtureRules unordered;
    for (const auto& [key, node] : table) {
      if (key.str() == "pass_draws") continue;
      double weight = 0;
      read(node, "mixture.\"" + std::string(key.str()) + "\"", weight);
      order.emplace_back(node.source().begin, unordered.size());
      unordered.emplace_back(key.str(), weight);
    }
    // toml++ sorts keys by name; the last match wins, so the file's order counts. Lines of --set (0) come last.
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return std::pair(a.first.line - 1, a.first.column) < std::pair(b.first.line - 1, b.first.column);
    });
    rules.clear();
    for (const auto& [position, index] : order) rules.push_back(unordered[index]);
  }

  bool is_section(const std::string& name) const {
    return std::any_of(known_.begin(), known_.end(), [&](const auto& k) { return k.first == name && !name.empty(); });
  }
  bool is_known(const std::string& section, const std::string& key) const {
    return std::find(known_.begin(), known_.end(), std::pair(section, key)) != known_.end();
  }
  void reject_unknown_in(const std::string& section, const toml::table& table) const {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (!is_known(section, name)) fail_unknown(node, section + "." + name, nearest_key(section + "." + name));
    }
  }
  std::string nearest_key(const std::string& key) const {
    std::vector<std::string> candidates;
    for (const auto& [section, name] : known_) {
      if (!section.empty()) candidates.push_back(section);
      if (!name.empty()) candidates.push_back(section.empty() ? name : section + "." + name);
    }
    std::string nearest = nearest_word(key, candidates);
    if (!nearest.empty()) return nearest;
    // A right key in the wrong section.
    const std::string bare = key.substr(key.find('.') + 1);
    for (const auto& [section, name] : known_) {
      if (name == bare) return section.empty() ? name : section + "." + name;
    }
    return {};
  }

  const std::filesystem::path& file_;
  const toml::table& root_;
  std::vector<std::pair<std::string, std::string>> known_;
};

std::string quoted(const std::string& text) {
  std::ostringstream out;
  out << toml::value<std::string>(text);
  return out.str();
}

class Writer {
 public:
  template <typename Field>
  void operator()(const char* section, const char* key, const Field& field) {
    if (section_ != section) {
      section_ = section;
      text_ += fmt::format("\n[{}]\n", section_);
    }
    if constexpr (std::is_same_v<Field, data::MixtureRules>) {
      for (const auto& [pattern, weight] : field) text_ += fmt::format("{} = {}\n", quoted(pattern), number(weight));
    } else {
      text_ += fmt::format("{} = {}\n", key, value(field));
    }
  }
  std::string text() const { return text_; }

 private:
  static std::string number(double value) {
    const std::string text = fmt::format("{}", value);
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
  }
  static std::string value(bool field) { return field ? "true" : "false"; }
  static std::string value(double field) { return number(field); }
  static std::string value(uint64_t field) { return fmt::format("{}", field); }
  static std::string value(int64_t field) { return fmt::format("{}", field); }
  static std::string value(const std::string& field) { return quoted(field); }
  static std::string value(const std::pair<std::string, std::string>& field) {
    return fmt::format("[{}, {}]", quoted(field.first), quoted(field.second));
  }
  template <typename Item>
  static std::string value(const std::vector<Item>& field) {
    std::string items;
    for (const Item& item : field) items += (items.empty() ? "" : ", ") + value(item);
    return "[" + items + "]";
  }

  std::string section_;
  std::string text_;
};

/// Puts "a.b=value" into the table; a value that is not TOML is taken as text.
void apply_override(toml::table& root, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError(fmt::format("--set {}: write --set section.key=value", assignment));
  }
  const std::string key = assignment.substr(0, equals);
  const std::string text = assignment.substr(equals + 1);
  toml::table parsed;
  try {
    parsed = toml::parse("value = " + text);
  } catch (const toml::parse_error&) {
    parsed = toml::table{{"value", text}};
  }
  const size_t dot = key.find('.');
  toml::table* table = &root;
  if (dot != std::string::npos) {
    const std::string section = key.substr(0, dot);
    if (!root.contains(section)) root.insert(section, toml::table{});
    table = root[section].as_table();
    if (table == nullptr) throw UsageError(fmt::format("--set {}: {} is not a section", assignment, section));
  }
  table->insert_or_assign(dot == std::string::npos ? key : key.substr(dot + 1), *parsed.get("value"));
}

void require(bool holds, const std::filesystem::path& file, const std::string& message) {
  if (!holds) throw UsageError(fmt::format("{}: {}", file.string(), message));
}

void require_one_of(const std::string& value, const std::vector<std::string>& choices, const std::string& key,
                    const std::filesystem::path& file) {
  require(std::find(choices.begin(), choices.end(), value) != choices.end(), file,
          fmt::format("{} = \"{}\": choose one of {}", key, value, fmt::join(choices, ", ")));
}

void require_probability(double value, const std::string& key, const std::filesystem::path& file) {
  require(value >= 0 && value <= 1, file, fmt::format("{} = {} must be between 0 and 1", key, value));
}

void validate(const RunConfig& c, const std::filesystem::path& file) {
  require(!c.name.empty() && c.name.find('/') == std::string::npos && c.name[0] != '.', file,
          "name must be usable as a folder's name");
  require(!c.model.path.empty(), file, "model.path is missing: the model folder to start from");
  require(!c.data.store.empty(), file, "data.store is missing: the store that `kessoku prepare` made");
  require_probability(c.data.caption_dropout, "data.caption_dropout", file);
  require_probability(c.data.flip, "data.flip", file);
  require(c.data.threads >= 1, file, "data.threads must be at least 1");
  require(c.data.prefetch >= 1, file, "data.prefetch must be at least 1");
  require(!c.train.target.empty(), file, "train.target is empty: [\"unet\", \"text_encoder\"] or [\"vae\"]");
  for (const std::string& part : c.train.target) {
    require_one_of(part, {"unet", "text_encoder", "vae"}, "train.target", file);
  }
  require(!c.trains("vae") || c.train.target.size() == 1, file, "train.target: the vae is trained alone");
  require(c.train.steps >= 1, file, "train.steps must be at least 1");
  require(c.train.global_batch >= 1, file, "train.global_batch must be at least 1");
  require(c.train.micro_batch >= 1, file, "train.micro_batch must be at least 1");
  require_one_of(c.train.precision, {"fp32"}, "train.precision", file);
  require_one_of(c.train.device, {"auto", "cpu"}, "train.device", file);
  require_one_of(c.train.prediction, {"", "epsilon", "v_prediction"}, "train.prediction", file);
  require_one_of(c.optimizer.name, {"adamw"}, "optimizer.name", file);
  require_one_of(c.optimizer.schedule, {"constant", "linear", "cosine"}, "optimizer.schedule", file);
  require(c.optimizer.lr >= 0, file, "optimizer.lr must not be negative");
  require(c.optimizer.betas.size() == 2, file, "optimizer.betas must be two numbers");
  for (double beta : c.optimizer.betas) {
    require(beta >= 0 && beta < 1, file, "optimizer.betas must be at least 0 and below 1");
  }
  require(c.optimizer.eps > 0, file, "optimizer.eps must be above 0");
  require(c.optimizer.grad_clip >= 0, file, "optimizer.grad_clip must not be negative");
  require(c.ema.decay >= 0 && c.ema.decay < 1, file, "ema.decay must be at least 0 and below 1");
  require_one_of(c.checkpoint.weights_dtype, {"fp16", "bf16", "fp32"}, "checkpoint.weights_dtype", file);
  require(c.sample.size.empty() || c.sample.size.size() == 2, file, "sample.size must be [width, height]");
  require(c.metrics.port <= 65535, file, "metrics.port must be at most 65535");
}

}  // namespace

bool RunConfig::trains(const std::string& part) const {
  return std::find(train.target.begin(), train.target.end(), part) != train.target.end();
}

RunConfig load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  toml::table root;
  try {
    root = toml::parse(read_file(file, 1 << 20), file.string());
  } catch (const toml::parse_error& error) {
    throw UsageError(fmt::format("{}, line {}: {}", file.string(), error.source().begin.line, error.description()));
  }
  for (const std::string& assignment : overrides) apply_override(root, assignment);
  RunConfig config;
  Reader reader(file, root);
  visit_fields(config, reader);
  reader.reject_unknown();
  validate(config, file);
  return config;
}

std::string to_toml(const RunConfig& config) {
  Writer writer;
  visit_fields(config, writer);
  return writer.text();
}

}  // namespace kessoku::runtime
