#include "launcher/describe_scaling.h"

#include "launcher/quantity.h"

namespace kessoku::launcher {

using nlohmann::json;

namespace {

double local_link(const runtime::NetworkModel& network) {
  return network.local_link > 0 ? network.local_link : network.link;
}

const char* transport(const runtime::NetworkModel& network) {
  return network.rings ? "nccl" : "mpi";
}

json to_json(const ScalingRow& row) {
  if (!row.problem.empty()) return {{"ranks", row.ranks}, {"problem", row.problem}};
  json memory = json::object();
  for (const auto& [name, bytes] : terms_of(row.memory)) memory[name] = bytes;
  return {{"ranks", row.ranks},
          {"global_batch", row.global_batch},
          {"micro_batch", row.split.micro},
          {"accumulation", row.split.accumulation},
          {"seconds", row.step.seconds},
          {"compute_seconds", row.step.compute},
          {"communication_seconds", row.step.communication},
          {"exposed_seconds", row.step.exposed},
          {"bytes_out_of_host", row.step.bytes_out},
          {"samples_per_second", row.samples_per_second},
          {"efficiency", row.efficiency},
          {"rank_dependence", row.rank_dependence},
          {"memory", std::move(memory)}};
}

std::string heading(const Scaling& scaling) {
  const runtime::NetworkModel& network = scaling.network;
  const runtime::RunConfig& config = scaling.config;
  std::string text = fmt::format(
      "\n  compute    {}, {}{}\n", scaling.compute, config.train.precision,
      scaling.measured
          ? fmt::format(", {} thread{}", scaling.threads, scaling.threads == 1 ? "" : "s")
          : "");
  text += fmt::format("  network    {}/s a host, {} a message, {} a host, {}\n",
                      bytes_text(network.link), seconds_text(network.latency),
                      network.ranks_per_host == 1
                          ? std::string("one rank")
                          : fmt::format("{} ranks at {}/s", network.ranks_per_host,
                                        bytes_text(local_link(network))),
                      transport(network));
  text += fmt::format("  gradients  {} on the wire, {}, {}\n\n", config.communication.wire,
                      config.communication.overlap ? "sent during backward" : "sent after backward",
                      config.optimizer.shard ? "optimizer sharded" : "optimizer whole");
  return text;
}

std::string time_table(const std::vector<ScalingRow>& rows) {
  std::string table = fmt::format("  {:>6}{:>18}{:>11}{:>11}{:>11}{:>11}{:>14}{:>12}{:>12}\n",
                                  "ranks", "draws a rank", "step", "compute", "exchange", "exposed",
                                  "out of a host", "samples/s", "efficiency");
  for (const ScalingRow& row : rows) {
    if (!row.problem.empty()) {
      table += fmt::format("  {:>6}  {}\n", row.ranks, row.problem);
      continue;
    }
    const std::string draws = fmt::format("{} x {}", row.split.micro, row.split.accumulation);
    table +=
        fmt::format("  {:>6}{:>18}{:>11}{:>11}{:>11}{:>11}{:>14}{:>12.3f}{:>10.1f} %\n", row.ranks,
                    draws, seconds_text(row.step.seconds), seconds_text(row.step.compute),
                    seconds_text(row.step.communication), seconds_text(row.step.exposed),
                    bytes_text(row.step.bytes_out), row.samples_per_second, 100 * row.efficiency);
  }
  return table;
}

/// Where the results are not those of other numbers of ranks, to the bit.
std::string dependence_lines(const std::vector<ScalingRow>& rows) {
  std::string lines;
  for (const ScalingRow& row : rows) {
    if (!row.rank_dependence.empty())
      lines +=
          fmt::format("  {} rank{}: rounding differs from that of other numbers of ranks: {}\n",
                      row.ranks, row.ranks == 1 ? "" : "s", row.rank_dependence);
  }
  return lines;
}

std::string memory_table(const Scaling& scaling) {
  std::string table = fmt::format("\n  {:<14}", "memory a rank");
  std::vector<std::vector<std::pair<std::string, uint64_t>>> columns;
  for (const ScalingRow& row : scaling.rows) {
    if (!row.problem.empty()) continue;
    columns.push_back(terms_of(row.memory));
    table += fmt::format("{:>11}", fmt::format("{} rank{}", row.ranks, row.ranks == 1 ? "" : "s"));
  }
  if (columns.empty()) return "";
  table += "\n";
  const bool known = scaling.measured || scaling.traced;
  for (size_t term = 0; term < columns.front().size(); ++term) {
    const std::string& name = columns.front()[term].first;
    if (!known && (name == "activations" || name == "loader")) continue;
    table += fmt::format("  {:<14}", known || name != "peak" ? name : "without both");
    for (const auto& column : columns)
      table += fmt::format("{:>11}", bytes_text(static_cast<double>(column[term].second)));
    table += "\n";
  }
  if (!known)
    table += "  activations and batches are known only where steps are taken here (no --compute)\n";
  return table;
}

json to_json(const runtime::StepBudget& budget) {
  json lines = json::array();
  for (const runtime::BudgetLine& line : budget.lines) {
    lines.push_back({{"kind", line.kind},
                     {"calls", line.calls},
                     {"flops", line.flops},
                     {"bytes", line.bytes},
                     {"seconds", line.seconds}});
  }
  const runtime::StepCosts& costs = budget.costs.costs;
  return {{"draws", budget.costs.micro_batch},
          {"forward_seconds", costs.forward},
          {"backward_seconds", costs.backward},
          {"optimizer_seconds", costs.norm + costs.update},
          {"lines", std::move(lines)}};
}

std::string budget_table(const Scaling& scaling) {
  if (!scaling.budget) return "";
  const runtime::StepBudget& budget = *scaling.budget;
  std::string table = fmt::format(
      "\n  what {} draw{} take at least, by the data sheet's peaks\n  "
      "{:<20}{:>9}{:>14}{:>12}{:>11}\n",
      budget.costs.micro_batch, budget.costs.micro_batch == 1 ? "" : "s", "kernels", "calls",
      "TFLOP", "moved", "seconds");
  for (const runtime::BudgetLine& line : budget.lines) {
    table += fmt::format("  {:<20}{:>9}{:>14.3f}{:>12}{:>11}\n", line.kind,
                         line.calls > 0 ? std::to_string(line.calls) : "", 1e-12 * line.flops,
                         bytes_text(line.bytes), seconds_text(line.seconds));
  }
  return table;
}

}  // namespace

json to_json(const Scaling& scaling) {
  const runtime::RunConfig& config = scaling.config;
  json rows = json::array();
  for (const ScalingRow& row : scaling.rows) rows.push_back(to_json(row));
  return {{"compute", scaling.compute},
          {"budget", scaling.budget ? to_json(*scaling.budget) : json()},
          {"activations_measured", scaling.measured},
          {"memory_of_gpu", scaling.traced},
          {"threads", scaling.threads},
          {"precision", config.train.precision},
          {"link", scaling.network.link},
          {"latency", scaling.network.latency},
          {"ranks_per_host", scaling.network.ranks_per_host},
          {"local_link", local_link(scaling.network)},
          {"transport", transport(scaling.network)},
          {"wire", config.communication.wire},
          {"overlap", config.communication.overlap},
          {"shard", config.optimizer.shard},
          {"rows", std::move(rows)}};
}

std::string scaling_table(const Scaling& scaling) {
  return heading(scaling) + time_table(scaling.rows) + dependence_lines(scaling.rows) +
         budget_table(scaling) + memory_table(scaling);
}

}  // namespace kessoku::launcher
