#include "metrics/report/report_settings.h"

#include <toml++/toml.h>

#include <sstream>

namespace kessoku::metrics {

namespace {

struct Setting {
  const char* key;
  const char* label;
};

constexpr Setting kMainSettings[] = {
    {"model.path", "Model"},
    {"data.store", "Store"},
    {"train.target", "Trains"},
    {"train.steps", "Steps"},
    {"train.global_batch", "Draws a step"},
    {"optimizer.lr", "Learning rate"},
    {"optimizer.text_encoder_lr", "… of the text encoder"},
    {"optimizer.schedule", "Schedule"},
    {"train.precision", "Precision"},
    {"seed", "Seed"},
};

std::string to_text(toml::node_view<const toml::node> value) {
  if (const auto text = value.value_exact<std::string>()) return *text;
  // toml++ prints 6e-4 as 0.00059999999999999995.
  if (const auto number = value.value_exact<double>()) return fmt::format("{}", *number);
  if (const toml::array* list = value.as_array()) {
    std::string joined;
    for (const toml::node& element : *list) {
      joined += (joined.empty() ? "" : ", ") + to_text(toml::node_view<const toml::node>(element));
    }
    return joined;
  }
  std::ostringstream out;
  out << value;
  return out.str();
}

/// All values by their full keys, "section.key".
void flatten(const toml::table& table, const std::string& prefix,
             std::map<std::string, std::string>& values) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (const toml::table* inner = node.as_table()) {
      flatten(*inner, name + ".", values);
    } else {
      values[name] = to_text(toml::node_view<const toml::node>(node));
    }
  }
}

}  // namespace

void read_settings(std::string config, ReportData& data) {
  data.config = std::move(config);
  try {
    const toml::table settings = toml::parse(data.config);
    if (const auto name = settings["name"].value<std::string>(); name && !name->empty())
      data.name = *name;
    data.planned_steps = static_cast<uint64_t>(
        std::max<int64_t>(0, settings.at_path("train.steps").value_or<int64_t>(0)));
    flatten(settings, "", data.all_settings);
    for (const Setting& setting : kMainSettings) {
      const auto value = settings.at_path(setting.key);
      // A negative rate of the text encoder means that it has the common one.
      const bool inherited = value.is_number() && value.value_or(0.0) < 0;
      if (value && !inherited) data.settings.emplace_back(setting.label, to_text(value));
    }
  } catch (const toml::parse_error& error) {
    data.warnings.push_back(fmt::format("config.toml is damaged: {}.", error.description()));
  }
}

}  // namespace kessoku::metrics
