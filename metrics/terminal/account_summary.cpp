#include "metrics/terminal/account_summary.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "metrics/progress.h"

namespace kessoku::metrics {

namespace {

struct Wording {
  const char* name;
  const char* advice;  ///< empty: nothing that a key of the run file would change
};

/// Of each cause.
constexpr Wording kWordings[] = {
    {"compute", ""},
    {"startup", "a longer run has less of it"},
    {"data", "raise data.threads or data.prefetch, or move the store to a faster disk"},
    {"communication", "docs/scaling.md shows what shortens it"},
    {"checkpoints", "raise checkpoint.every_steps or checkpoint.every_minutes"},
    {"samples", "raise sample.every_steps, or make fewer"},
    {"validation", "raise validation.every_steps"},
    {"verification", "raise verify.every_steps"},
    {"repeated steps", "checkpoint more often"},
    {"other", ""},
    {"down", ""}};
static_assert(std::size(kWordings) == kCauses);

constexpr double kMentioned = 0.01;  ///< shares below count as other
constexpr double kMuch = 0.10;       ///< beside compute that limits
constexpr double kSlow = 1.2;

struct Share {
  Cause cause;
  double value;
};

/// The largest first; small ones belong to kOther, the last one. Empty if no time has passed.
std::vector<Share> shares_of(const RunAccount& before, const RunAccount& after) {
  std::vector<Share> shares;
  double seconds = 0, other = 0;
  for (size_t i = 0; i < kCauses; ++i) seconds += after.seconds[i] - before.seconds[i];
  if (seconds <= 0) return shares;
  for (size_t i = 0; i < kCauses; ++i) {
    const double share = (after.seconds[i] - before.seconds[i]) / seconds;
    if (static_cast<Cause>(i) == Cause::kOther || share < kMentioned) {
      other += share;
    } else {
      shares.push_back({static_cast<Cause>(i), share});
    }
  }
  std::ranges::stable_sort(shares, std::greater{}, &Share::value);
  shares.push_back({Cause::kOther, other});
  return shares;
}

std::string limit_by(Cause cause, const std::optional<SlowRank>& slow) {
  const Wording& wording = kWordings[static_cast<size_t>(cause)];
  if (cause == Cause::kExposedCommunication && slow && slow->slowness >= kSlow) {
    return fmt::format("rank {} on {}, whose own work takes {:.1f} times as long as the others'",
                       slow->rank, slow->host, slow->slowness);
  }
  const std::string advice = wording.advice;
  return wording.name + (advice.empty() ? "" : fmt::format(" ({})", advice));
}

std::string limits(const std::vector<Share>& shares, const std::optional<SlowRank>& slow) {
  const Cause first = shares[0].cause;
  std::string text = limit_by(first, slow);
  const bool more = first == Cause::kProductive && shares.size() > 1 && shares[1].value >= kMuch &&
                    shares[1].cause != Cause::kOther;
  return more ? text + ", then by " + limit_by(shares[1].cause, slow) : text;
}

}  // namespace

double goodput(const RunAccount& account) {
  const double whole = account.until - account.began;
  return whole > 0 ? account.seconds[static_cast<size_t>(Cause::kProductive)] / whole : 1;
}

std::string describe_shares(const RunAccount& before, const RunAccount& after) {
  std::string text;
  for (const auto& [cause, share] : shares_of(before, after)) {
    if (share < kMentioned / 2) continue;
    text += fmt::format("{}{:.0f} % {}", text.empty() ? "" : ", ", 100 * share,
                        kWordings[static_cast<size_t>(cause)].name);
  }
  return text;
}

std::string summarize(const RunAccount& before, const RunAccount& after, uint64_t steps,
                      const std::optional<SlowRank>& slow_rank) {
  std::string text =
      fmt::format("{} in {}", counted(steps, "step"), format_duration(after.until - before.until));
  if (const std::vector<Share> shares = shares_of(before, after); !shares.empty()) {
    text += fmt::format(": {}; limited by {}", describe_shares(before, after),
                        limits(shares, slow_rank));
  }
  if (after.starts > 1) {
    text +=
        fmt::format("\nthe run so far: {} steps in {}, {} starts, {} repeated, goodput {:.0f} %",
                    after.furthest, format_duration(after.until - after.began), after.starts,
                    counted(after.redone_steps, "step"), 100 * goodput(after));
  }
  return text;
}

}  // namespace kessoku::metrics
