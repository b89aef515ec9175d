#pragma once

#include <string>
#include <vector>

#include "metrics/report/report_data.h"

namespace kessoku::metrics {

/// A curve over steps; `y` may hold NaN, which is a gap.
struct Curve {
  std::vector<double> x, y;
};

/// At most `most` (4 or more) points that look the same: the first, the last, and of each stretch
/// between them the least and the greatest value, in order.
Curve decimate(const Curve& curve, size_t most);

/// Exponential moving average over some `window` points, unbiased at the start; gaps are passed
/// over.
Curve smooth(const Curve& curve, double window);

/// The curves of each run as JSON, safe inside a <script> element: `[{"name": …, "numbers":
/// {"loss":
/// {"label": …, "from_zero": …, "raw": {x, y}, "smooth": {x, y}}, …}, "validation_loss": {x, y},
/// "loss_by_folder": {"fanart": {x, y}, …}, "loss_by_timesteps": {"0-249": …}, "phases": {"x": […],
/// "data": […], …, "other": […]}, "marks": [{"step": …, "change": …}]}, …]`, with `numbers` from
/// kStepNumbers. No curve has more than 2,000 points.
std::string curves_json(const std::vector<ReportData>& runs);

/// The last value of the smoothed loss, as the page's curve shows it; NaN without records.
double smoothed_loss(const std::vector<StepRecord>& records);

}  // namespace kessoku::metrics
