#include "metrics/report/report_curves.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

namespace kessoku::metrics {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostPoints = 2'000;
constexpr size_t kPhaseStretches = 200;  // averages: fewer, wider stretches are easier to read

/// Six digits: what a screen can show, and a third of the page's size.
double rounded(double value) {
  return std::isfinite(value) ? std::strtod(fmt::format("{:.6g}", value).c_str(), nullptr) : value;
}

Json to_json(const Curve& curve) {
  Json x = Json::array(), y = Json::array();
  for (const double value : curve.x) x.push_back(value);
  for (const double value : curve.y) y.push_back(rounded(value));
  return {{"x", std::move(x)}, {"y", std::move(y)}};
}

Curve curve_of(const std::vector<StepRecord>& records, double StepRecord::*value) {
  Curve curve;
  for (const StepRecord& record : records) {
    curve.x.push_back(static_cast<double>(record.step));
    curve.y.push_back(record.*value);
  }
  return curve;
}

/// Where it was measured.
Curve validation_curve(const std::vector<StepRecord>& records) {
  Curve curve;
  for (const StepRecord& record : records) {
    if (!record.validation_loss) continue;
    curve.x.push_back(static_cast<double>(record.step));
    curve.y.push_back(*record.validation_loss);
  }
  return curve;
}

/// A fiftieth of the run: wide enough to show the trend, narrow enough to show when it turned.
double window_of(size_t points) { return std::max(1.0, static_cast<double>(points) / 50); }

Json number_curve(const std::vector<StepRecord>& records, const StepNumber& number) {
  const Curve curve = curve_of(records, number.value);
  Json out = {{"label", number.title},
              {"from_zero", number.from_zero},
              {"raw", to_json(decimate(curve, kMostPoints))}};
  if (number.smoothed)
    out["smooth"] = to_json(decimate(smooth(curve, window_of(curve.x.size())), kMostPoints));
  return out;
}

/// Mean seconds a step, by phase, over equal stretches of the run.
Json phases(const std::vector<StepRecord>& records) {
  Json x = Json::array();
  std::array<Json, kPhases + 1> means;
  means.fill(Json::array());
  const size_t stretches = std::min(records.size(), kPhaseStretches);
  for (size_t s = 0; s < stretches; ++s) {
    const size_t begin = s * records.size() / stretches, end = (s + 1) * records.size() / stretches;
    std::array<double, kPhases + 1> sums{};
    for (size_t i = begin; i < end; ++i) {
      double known = 0;
      for (size_t p = 0; p < kPhases; ++p) {
        const double seconds = records[i].phase_seconds[p];
        if (std::isfinite(seconds)) sums[p] += seconds, known += seconds;
      }
      sums[kPhases] += std::max(0.0, records[i].seconds - known);
    }
    x.push_back(records[end - 1].step);
    for (size_t p = 0; p <= kPhases; ++p)
      means[p].push_back(rounded(sums[p] / static_cast<double>(end - begin)));
  }
  Json out = {{"x", std::move(x)}};
  for (size_t p = 0; p < kPhases; ++p) out[to_string(static_cast<Phase>(p))] = std::move(means[p]);
  out["other"] = std::move(means[kPhases]);
  return out;
}

Json smoothed(const Curve& curve) {
  return to_json(decimate(smooth(curve, window_of(curve.x.size())), kMostPoints));
}

/// Of the folders that were drawn most.
Json losses_by_folder(const std::vector<StepRecord>& records) {
  constexpr size_t kMostFolders = 8;
  std::map<std::string, uint64_t> draws;
  for (const StepRecord& record : records)
    for (const auto& [name, count] : record.category_draws) draws[name] += count;
  std::vector<std::pair<uint64_t, std::string>> order;
  for (const auto& [name, count] : draws) order.emplace_back(count, name);
  std::ranges::sort(order, std::greater{});
  order.resize(std::min(order.size(), kMostFolders));
  Json out = Json::object();
  for (const auto& [count, name] : order) {
    Curve curve;
    for (const StepRecord& record : records) {
      const auto loss = record.category_losses.find(name);
      if (loss == record.category_losses.end()) continue;
      curve.x.push_back(static_cast<double>(record.step));
      curve.y.push_back(loss->second);
    }
    if (!curve.x.empty()) out[name] = smoothed(curve);
  }
  return out;
}

Json losses_by_timesteps(const std::vector<StepRecord>& records) {
  Json out = Json::object();
  for (size_t i = 0; i < kTimestepRanges; ++i) {
    Curve curve;
    for (const StepRecord& record : records) {
      if (std::isnan(record.timestep_losses[i])) continue;
      curve.x.push_back(static_cast<double>(record.step));
      curve.y.push_back(record.timestep_losses[i]);
    }
    if (!curve.x.empty()) out[name_of_timesteps(i)] = smoothed(curve);
  }
  return out;
}

}  // namespace

Curve decimate(const Curve& curve, size_t most) {
  const size_t n = curve.x.size();
  if (n <= most) return curve;
  Curve out;
  const size_t stretches = (most - 2) / 2;
  const auto add = [&](size_t i) {
    out.x.push_back(curve.x[i]);
    out.y.push_back(curve.y[i]);
  };
  add(0);
  for (size_t s = 0; s < stretches; ++s) {
    // What lies between the first and the last point, which stay.
    const size_t begin = 1 + s * (n - 2) / stretches, end = 1 + (s + 1) * (n - 2) / stretches;
    size_t least = begin, greatest = begin;
    for (size_t i = begin; i < end; ++i) {
      if (curve.y[i] < curve.y[least] || std::isnan(curve.y[least])) least = i;
      if (curve.y[i] > curve.y[greatest] || std::isnan(curve.y[greatest])) greatest = i;
    }
    add(std::min(least, greatest));
    if (least != greatest) add(std::max(least, greatest));
  }
  add(n - 1);
  return out;
}

Curve smooth(const Curve& curve, double window) {
  const double keep = 1 - 1 / std::max(1.0, window);
  Curve out = curve;
  double sum = 0, weight = 0;
  for (double& y : out.y) {
    if (std::isfinite(y)) {
      sum = keep * sum + (1 - keep) * y;
      weight = keep * weight + (1 - keep);
    }
    y = weight > 0 ? sum / weight : std::numeric_limits<double>::quiet_NaN();
  }
  return out;
}

double smoothed_loss(const std::vector<StepRecord>& records) {
  const Curve loss = smooth(curve_of(records, &StepRecord::loss), window_of(records.size()));
  return loss.y.empty() ? std::numeric_limits<double>::quiet_NaN() : loss.y.back();
}

namespace {

Json run_curves(const ReportData& run) {
  const std::vector<StepRecord>& records = run.records;
  Json numbers = Json::object();
  for (const StepNumber& number : kStepNumbers) numbers[number.key] = number_curve(records, number);
  Json marks = Json::array();
  for (const RunMark& mark : run.marks)
    marks.push_back({{"step", mark.step}, {"change", mark.change}});
  return {{"name", run.name},
          {"numbers", std::move(numbers)},
          {"validation_loss", to_json(decimate(validation_curve(records), kMostPoints))},
          {"loss_by_folder", losses_by_folder(records)},
          {"loss_by_timesteps", losses_by_timesteps(records)},
          {"phases", phases(records)},
          {"marks", std::move(marks)}};
}

}  // namespace

std::string curves_json(const std::vector<ReportData>& runs) {
  Json all = Json::array();
  for (const ReportData& run : runs) all.push_back(run_curves(run));
  const std::string text = all.dump(-1, ' ', false, Json::error_handler_t::replace);
  // Names of folders and runs may hold "</script>".
  std::string safe;
  for (const char c : text) safe += c == '<' ? "\\u003c" : std::string(1, c);
  return safe;
}

}  // namespace kessoku::metrics
