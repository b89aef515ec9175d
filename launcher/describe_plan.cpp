#include "launcher/describe_plan.h"

#include "data/sampling/multiplier_warnings.h"

namespace kessoku::launcher {

using nlohmann::json;

namespace {

double per(uint64_t sum, uint64_t count) {
  return count == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(count);
}

json describe_folder(size_t i, const data::StoreManifest& manifest, const data::Mixture& mixture,
                     const data::DrawCounts& plan) {
  const data::DrawCounts::Part& whole = plan.folders[i];
  const data::DrawCounts::Part& own = plan.own[i];
  const auto draws = static_cast<double>(plan.draws);
  return {{"path", manifest.categories[i].path},
          {"examples", mixture.examples[i]},
          {"share", mixture.category_share[i]},
          {"draws_expected", mixture.category_share[i] * draws},
          {"draws_planned", whole.draws},
          {"views", per(whole.draws, mixture.examples[i] - whole.held_out)},
          {"fewest_views", whole.fewest_views},
          {"most_views", whole.most_views},
          {"never_drawn", whole.never_drawn},
          {"held_out", whole.held_out},
          {"own_examples", mixture.own_examples[i]},
          {"own_share", mixture.own_share[i]},
          {"own_draws_expected", mixture.own_share[i] * draws},
          {"own_draws_planned", own.draws},
          {"own_views", per(own.draws, mixture.own_examples[i] - own.held_out)},
          {"own_fewest_views", own.fewest_views},
          {"own_most_views", own.most_views},
          {"own_never_drawn", own.never_drawn},
          {"own_held_out", own.held_out}};
}

json describe_buckets(const data::StoreManifest& manifest, const data::Sampler& sampler,
                      const data::DrawCounts& plan) {
  std::vector<double> share(manifest.buckets.size(), 0);
  for (size_t i = 0; i < sampler.groups().size(); ++i)
    share[sampler.groups()[i].bucket] += sampler.group_share()[i];
  json result = json::object();
  for (size_t b = 0; b < manifest.buckets.size(); ++b) {
    result[to_string(manifest.buckets[b])] = {{"examples", plan.bucket_examples[b]},
                                              {"share", share[b]},
                                              {"draws_planned", plan.buckets[b].draws}};
  }
  return result;
}

// Characters, not bytes: columns stay in line though names are not ASCII.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

std::string padded(const std::string& text, size_t width) {
  const size_t own = width_of(text);
  return text + std::string(own < width ? width - own : 0, ' ');
}

// A folder's last name, indented by its depth.
std::string indented(const std::string& path) {
  if (path == ".") return "(all)";
  const auto depth = static_cast<size_t>(std::ranges::count(path, '/'));
  const size_t slash = path.rfind('/');
  return std::string(2 * depth, ' ') + (slash == path.npos ? path : path.substr(slash + 1));
}

std::string folder_line(const json& folder, const std::string& prefix, const std::string& name,
                        size_t width) {
  const auto count = [&](const char* key) { return folder[prefix + key].get<uint64_t>(); };
  std::string line = fmt::format(
      "  {}{:>9}{:>10.3f} %{:>13.1f}{:>12}{:>12.2f}{:>13}", padded(name, width), count("examples"),
      100 * folder[prefix + "share"].get<double>(), folder[prefix + "draws_expected"].get<double>(),
      count("draws_planned"), folder[prefix + "views"].get<double>(),
      fmt::format("{}-{}", count("fewest_views"), count("most_views")));
  if (count("never_drawn") > 0) line += fmt::format("  {} never drawn", count("never_drawn"));
  if (count("held_out") > 0) line += fmt::format("  {} held out", count("held_out"));
  return line + "\n";
}

std::string folder_table(const json& folders) {
  const std::string own_images = "(own images)";
  size_t width = 24;
  for (const json& folder : folders)
    width = std::max(width, width_of(indented(folder["path"].get<std::string>())) + 2);
  std::string table =
      fmt::format("  {:{}}{:>46}{:>25}\n", "", width, "draws", "draws of an image") +
      fmt::format("  {}{:>9}{:>12}{:>13}{:>12}{:>12}{:>13}\n", padded("folder", width), "images",
                  "share", "expected", "planned", "average", "least-most");
  for (const json& folder : folders) {
    const auto path = folder["path"].get<std::string>();
    const std::string name = indented(path);
    table += folder_line(folder, "", name, width);
    if (folder["own_examples"] == 0 || folder["own_examples"] == folder["examples"]) continue;
    const size_t depth = path == "." ? 0 : name.find_first_not_of(' ') + 2;
    table += folder_line(folder, "own_", std::string(depth, ' ') + own_images, width);
  }
  return table;
}

}  // namespace

json describe_plan(const data::StoreManifest& manifest, const data::Mixture& mixture,
                   const data::Sampler& sampler, const data::DrawCounts& plan) {
  const uint64_t global_batch = sampler.global_batch();
  const uint64_t steps = (plan.draws + global_batch - 1) / global_batch;
  json result{{"examples", mixture.examples[0]},
              {"examples_drawn", plan.examples_drawn},
              {"global_batch", global_batch},
              {"steps", steps},
              {"draws", plan.draws},
              {"pass_draws", sampler.pass_draws()},
              {"categories", json::array()},
              {"buckets", describe_buckets(manifest, sampler, plan)},
              {"warnings", mixture.warnings}};
  for (size_t i = 0; i < manifest.categories.size(); ++i)
    result["categories"].push_back(describe_folder(i, manifest, mixture, plan));
  for (const auto& warnings :
       {rounding_warnings(manifest, mixture), sampler.warnings(steps, manifest),
        draw_count_warnings(manifest, mixture, plan)}) {
    for (const std::string& warning : warnings) result["warnings"].push_back(warning);
  }
  return result;
}

std::string plan_table(const json& plan) {
  std::string table = fmt::format(
      "{} draws in {} steps of {}, {:.4g} passes of {} draws; {} of {} examples are drawn\n\n",
      plan["draws"].get<uint64_t>(), plan["steps"].get<uint64_t>(),
      plan["global_batch"].get<uint64_t>(),
      plan["draws"].get<double>() / plan["pass_draws"].get<double>(),
      plan["pass_draws"].get<uint64_t>(), plan["examples_drawn"].get<uint64_t>(),
      plan["examples"].get<uint64_t>());
  table += folder_table(plan["categories"]);
  table += fmt::format("\n  {:<24}{:>9}{:>12}{:>13}\n", "bucket", "images", "share", "planned");
  for (const auto& [name, bucket] : plan["buckets"].items()) {
    table +=
        fmt::format("  {:<24}{:>9}{:>10.3f} %{:>13}\n", name, bucket["examples"].get<uint64_t>(),
                    100 * bucket["share"].get<double>(), bucket["draws_planned"].get<uint64_t>());
  }
  if (!plan["warnings"].empty()) table += "\n";
  for (const json& warning : plan["warnings"])
    table += fmt::format("warning: {}\n", warning.get<std::string>());
  return table;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

std::string plan_csv(const json& plan) {
  const std::vector<std::string> columns{"examples",      "share",       "draws_expected",
                                         "draws_planned", "views",       "fewest_views",
                                         "most_views",    "never_drawn", "held_out"};
  std::string text = fmt::format("path,{}\n", fmt::join(columns, ","));
  for (const json& folder : plan["categories"]) {
    text += csv_field(folder["path"].get<std::string>());
    for (const std::string& column : columns) text += "," + folder[column].dump();
    text += "\n";
  }
  return text;
}

}  // namespace kessoku::launcher
