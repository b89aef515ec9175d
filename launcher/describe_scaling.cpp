#include "launcher/describe_scaling.h"

#include "launcher/quantity.h"

namespace kessoku::launcher {

using nlohmann::json;

namespace {

std::string heading(const json& scaling) {
  std::string text = fmt::format("\n  compute    {}, {}{}\n", scaling["compute"].get<std::string>(),
                                 scaling["precision"].get<std::string>(),
                                 scaling["activations_measured"].get<bool>()
                                     ? fmt::format(", {} thread{}", scaling["threads"].get<int>(),
                                                   scaling["threads"] == 1 ? "" : "s")
                                     : "");
  text += fmt::format("  network    {}/s a host, {} a message, {} a host, {}\n",
                      bytes_text(scaling["link"].get<double>()),
                      seconds_text(scaling["latency"].get<double>()),
                      scaling["ranks_per_host"] == 1
                          ? std::string("one rank")
                          : fmt::format("{} ranks at {}/s", scaling["ranks_per_host"].get<int>(),
                                        bytes_text(scaling["local_link"].get<double>())),
                      scaling["transport"].get<std::string>());
  text +=
      fmt::format("  gradients  {} on the wire, {}, {}\n\n", scaling["wire"].get<std::string>(),
                  scaling["overlap"].get<bool>() ? "sent during backward" : "sent after backward",
                  scaling["shard"].get<bool>() ? "optimizer sharded" : "optimizer whole");
  return text;
}

std::string time_table(const json& rows) {
  std::string table =
      fmt::format("  {:>6}{:>18}{:>11}{:>11}{:>11}{:>11}{:>12}{:>12}\n", "ranks", "draws a rank",
                  "step", "compute", "exchange", "exposed", "samples/s", "efficiency");
  for (const json& row : rows) {
    if (row.contains("problem")) {
      table +=
          fmt::format("  {:>6}  {}\n", row["ranks"].get<int>(), row["problem"].get<std::string>());
      continue;
    }
    const auto seconds = [&](const char* key) { return seconds_text(row[key].get<double>()); };
    const std::string draws = fmt::format("{} x {}", row["micro_batch"].get<uint64_t>(),
                                          row["accumulation"].get<uint64_t>());
    table +=
        fmt::format("  {:>6}{:>18}{:>11}{:>11}{:>11}{:>11}{:>12.3f}{:>10.1f} %\n",
                    row["ranks"].get<int>(), draws, seconds("seconds"), seconds("compute_seconds"),
                    seconds("communication_seconds"), seconds("exposed_seconds"),
                    row["samples_per_second"].get<double>(), 100 * row["efficiency"].get<double>());
  }
  return table;
}

/// Where the results are not those of other numbers of ranks, to the bit.
std::string dependence_lines(const json& rows) {
  std::string lines;
  for (const json& row : rows) {
    const std::string why = row.value("rank_dependence", "");
    if (!why.empty())
      lines += fmt::format("  {} ranks: rounding differs from that of other numbers of ranks: {}\n",
                           row["ranks"].get<int>(), why);
  }
  return lines;
}

std::string memory_table(const json& scaling) {
  const json& rows = scaling["rows"];
  std::string table = fmt::format("\n  {:<14}", "memory a rank");
  std::vector<const json*> valid;
  for (const json& row : rows) {
    if (!row.contains("memory")) continue;
    valid.push_back(&row);
    table += fmt::format(
        "{:>11}", fmt::format("{} rank{}", row["ranks"].get<int>(), row["ranks"] == 1 ? "" : "s"));
  }
  if (valid.empty()) return "";
  table += "\n";
  for (const char* term : {"program", "weights", "frozen", "gradients", "moments", "master", "ema",
                           "wire", "loader", "activations", "snapshot", "gathered", "peak"}) {
    const std::string name = term;
    const bool measured = scaling["activations_measured"].get<bool>();
    if (!measured && (name == "activations" || name == "loader")) continue;
    table += fmt::format("  {:<14}", measured || name != "peak" ? name : "without both");
    for (const json* row : valid)
      table += fmt::format("{:>11}", bytes_text((*row)["memory"][name].get<double>()));
    table += "\n";
  }
  if (!scaling["activations_measured"].get<bool>())
    table += "  activations and batches are known only where steps are taken here (no --compute)\n";
  return table;
}

}  // namespace

std::string scaling_table(const json& scaling) {
  return heading(scaling) + time_table(scaling["rows"]) + dependence_lines(scaling["rows"]) +
         memory_table(scaling);
}

}  // namespace kessoku::launcher
