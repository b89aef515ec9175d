#include "launcher/describe_plan.h"

#include "data/sampling/multiplier_warnings.h"

namespace kessoku::launcher {

using nlohmann::json;

namespace {

double per(uint64_t sum, uint64_t count) {
  return count == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(count);
}

PlannedDraws planned_draws(uint64_t examples, double share, const data::DrawCounts::Part& counted,
                           uint64_t draws) {
  return {.examples = examples,
          .share = share,
          .draws_expected = share * static_cast<double>(draws),
          .counted = counted,
          .views = per(counted.draws, examples - counted.held_out)};
}

std::map<std::string, PlannedBucket> planned_buckets(const data::StoreManifest& manifest,
                                                     const data::Sampler& sampler,
                                                     const data::DrawCounts& plan) {
  std::vector<double> share(manifest.buckets.size(), 0);
  for (size_t i = 0; i < sampler.groups().size(); ++i)
    share[sampler.groups()[i].bucket] += sampler.group_share()[i];
  std::map<std::string, PlannedBucket> buckets;
  for (size_t b = 0; b < manifest.buckets.size(); ++b) {
    buckets[to_string(manifest.buckets[b])] = {
        .examples = plan.bucket_examples[b], .share = share[b], .draws = plan.buckets[b].draws};
  }
  return buckets;
}

void add_json(json& folder, const std::string& prefix, const PlannedDraws& of) {
  folder[prefix + "examples"] = of.examples;
  folder[prefix + "share"] = of.share;
  folder[prefix + "draws_expected"] = of.draws_expected;
  folder[prefix + "draws_planned"] = of.counted.draws;
  folder[prefix + "views"] = of.views;
  folder[prefix + "fewest_views"] = of.counted.fewest_views;
  folder[prefix + "most_views"] = of.counted.most_views;
  folder[prefix + "never_drawn"] = of.counted.never_drawn;
  folder[prefix + "held_out"] = of.counted.held_out;
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

std::string folder_line(const PlannedDraws& of, const std::string& name, size_t width) {
  const data::DrawCounts::Part& counted = of.counted;
  std::string line =
      fmt::format("  {}{:>9}{:>10.3f} %{:>13.1f}{:>12}{:>12.2f}{:>13}", padded(name, width),
                  of.examples, 100 * of.share, of.draws_expected, counted.draws, of.views,
                  fmt::format("{}-{}", counted.fewest_views, counted.most_views));
  if (counted.never_drawn > 0) line += fmt::format("  {} never drawn", counted.never_drawn);
  if (counted.held_out > 0) line += fmt::format("  {} held out", counted.held_out);
  return line + "\n";
}

std::string folder_table(const std::vector<PlannedFolder>& folders) {
  const std::string own_images = "(own images)";
  size_t width = 24;
  for (const PlannedFolder& folder : folders)
    width = std::max(width, width_of(indented(folder.path)) + 2);
  std::string table =
      fmt::format("  {:{}}{:>46}{:>25}\n", "", width, "draws", "draws of an image") +
      fmt::format("  {}{:>9}{:>12}{:>13}{:>12}{:>12}{:>13}\n", padded("folder", width), "images",
                  "share", "expected", "planned", "average", "least-most");
  for (const PlannedFolder& folder : folders) {
    const std::string name = indented(folder.path);
    table += folder_line(folder.whole, name, width);
    if (folder.own.examples == 0 || folder.own.examples == folder.whole.examples) continue;
    const size_t depth = folder.path == "." ? 0 : name.find_first_not_of(' ') + 2;
    table += folder_line(folder.own, std::string(depth, ' ') + own_images, width);
  }
  return table;
}

}  // namespace

DrawPlan describe_plan(const data::StoreManifest& manifest, const data::Mixture& mixture,
                       const data::Sampler& sampler, const data::DrawCounts& plan) {
  const uint64_t global_batch = sampler.global_batch();
  const uint64_t steps = (plan.draws + global_batch - 1) / global_batch;
  DrawPlan result{.examples = mixture.examples[0],
                  .examples_drawn = plan.examples_drawn,
                  .global_batch = global_batch,
                  .steps = steps,
                  .draws = plan.draws,
                  .pass_draws = sampler.pass_draws(),
                  .folders = {},
                  .buckets = planned_buckets(manifest, sampler, plan),
                  .warnings = mixture.warnings};
  for (size_t i = 0; i < manifest.categories.size(); ++i) {
    result.folders.push_back(
        {manifest.categories[i].path,
         planned_draws(mixture.examples[i], mixture.category_share[i], plan.folders[i], plan.draws),
         planned_draws(mixture.own_examples[i], mixture.own_share[i], plan.own[i], plan.draws)});
  }
  for (const auto& warnings :
       {rounding_warnings(manifest, mixture), sampler.warnings(steps, manifest),
        draw_count_warnings(manifest, mixture, plan)}) {
    result.warnings.insert(result.warnings.end(), warnings.begin(), warnings.end());
  }
  return result;
}

json to_json(const DrawPlan& plan) {
  json result{{"examples", plan.examples},
              {"examples_drawn", plan.examples_drawn},
              {"global_batch", plan.global_batch},
              {"steps", plan.steps},
              {"draws", plan.draws},
              {"pass_draws", plan.pass_draws},
              {"categories", json::array()},
              {"buckets", json::object()},
              {"warnings", plan.warnings}};
  for (const PlannedFolder& folder : plan.folders) {
    json entry{{"path", folder.path}};
    add_json(entry, "", folder.whole);
    add_json(entry, "own_", folder.own);
    result["categories"].push_back(std::move(entry));
  }
  for (const auto& [name, bucket] : plan.buckets) {
    result["buckets"][name] = {
        {"examples", bucket.examples}, {"share", bucket.share}, {"draws_planned", bucket.draws}};
  }
  return result;
}

std::string plan_table(const DrawPlan& plan) {
  std::string table = fmt::format(
      "{} draws in {} steps of {}, {:.4g} passes of {} draws; {} of {} examples are drawn\n\n",
      plan.draws, plan.steps, plan.global_batch,
      static_cast<double>(plan.draws) / static_cast<double>(plan.pass_draws), plan.pass_draws,
      plan.examples_drawn, plan.examples);
  table += folder_table(plan.folders);
  table += fmt::format("\n  {:<24}{:>9}{:>12}{:>13}\n", "bucket", "images", "share", "planned");
  for (const auto& [name, bucket] : plan.buckets) {
    table += fmt::format("  {:<24}{:>9}{:>10.3f} %{:>13}\n", name, bucket.examples,
                         100 * bucket.share, bucket.draws);
  }
  if (!plan.warnings.empty()) table += "\n";
  for (const std::string& warning : plan.warnings) table += fmt::format("warning: {}\n", warning);
  return table;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

std::string plan_csv(const DrawPlan& plan) {
  const auto number = [](double value) { return json(value).dump(); };  // digits that read back
  std::string text =
      "path,examples,share,draws_expected,draws_planned,views,fewest_views,most_views,never_drawn,"
      "held_out\n";
  for (const PlannedFolder& folder : plan.folders) {
    const PlannedDraws& of = folder.whole;
    const data::DrawCounts::Part& counted = of.counted;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{}\n", csv_field(folder.path), of.examples,
                        number(of.share), number(of.draws_expected), counted.draws,
                        number(of.views), counted.fewest_views, counted.most_views,
                        counted.never_drawn, counted.held_out);
  }
  return text;
}

}  // namespace kessoku::launcher
