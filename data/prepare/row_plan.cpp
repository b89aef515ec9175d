#include "data/prepare/row_plan.h"

#include <fmt/format.h>

#include <unordered_set>

#include "base/error.h"
#include "base/parallel.h"
#include "base/system_error.h"
#include "data/prepare/cached_latents.h"

namespace kessoku::data {

namespace {

constexpr size_t kChunk = 256;                  ///< images between two reports of progress
constexpr uint64_t kHead = uint64_t{64} << 10;  ///< bytes in which headers most often end

std::string without_prefix(const std::string& text, const std::string& prefix) {
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

class Planner {
 public:
  Planner(const Dataset& dataset, const PrepareOptions& options, const ReusableRows& known)
      : dataset_(dataset), options_(options), fit_(options.fit), known_(known) {
    if (known.store() == nullptr) return;
    for (const Skipped& entry : known.store()->manifest().skipped)
      formerly_bad_.insert(entry.source);
  }

  /// Throws Error if the image is bad.
  Planned plan(uint32_t index) const {
    const Example& example = dataset_.examples[index];
    const std::filesystem::path path = dataset_.root / example.source;
    if (known_.empty() && !options_.strict)
      return {index, example.size ? wanted_bucket(example) : bucket_of_file(path), {}, {}};
    const std::string encoded = read_image_file(path);
    Planned planned{index, example.size ? wanted_bucket(example) : bucket_of(encoded),
                    content_hash(dataset_, example, encoded), std::nullopt};
    planned.known = known_.find(*planned.content, example.source, fit_.table[planned.bucket]);
    if (!planned.known && (options_.strict || formerly_bad_.contains(example.source)))
      fit_image(encoded, example.source, fit_, *planned.content, planned.bucket);
    return planned;
  }

 private:
  uint32_t wanted_bucket(const Example& example) const {
    const auto found = std::ranges::find(fit_.table, *example.size);
    if (found == fit_.table.end()) {
      throw DataError(fmt::format("{}: requests {}, which is not in the bucket table",
                                  example.source, to_string(*example.size)));
    }
    return static_cast<uint32_t>(found - fit_.table.begin());
  }

  uint32_t bucket_of(std::string_view encoded) const {
    const ImageFile file(encoded, fit_.most_pixels);
    const bool turned = file.turn().transpose;
    return static_cast<uint32_t>(nearest_bucket(fit_.table, turned ? file.height() : file.width(),
                                                turned ? file.width() : file.height()));
  }

  uint32_t bucket_of_file(const std::filesystem::path& path) const {
    const RandomAccessFile file(path, RandomAccessFile::Mode::kRead);
    if (file.size() > 2 * kHead) {
      std::string head(kHead, '\0');
      file.read(0, std::as_writable_bytes(std::span(head)));
      try {
        return bucket_of(head);
      } catch (const DataError&) {  // of a format, or with so much before its size, that all is
      }                             // needed
    }
    return bucket_of(read_image_file(path));
  }

  const Dataset& dataset_;
  const PrepareOptions& options_;
  const FitOptions& fit_;
  const ReusableRows& known_;
  std::unordered_set<std::string> formerly_bad_;  ///< most often still so; then nothing changes
};

/// Decoders report through a log that threads share, so the reason is asked for again when nothing
/// else runs.
Skipped explain(const Planner& planner, const Dataset& dataset, uint32_t example) {
  try {
    planner.plan(example);
  } catch (const SystemError&) {
    throw;
  } catch (const Error& error) {
    return skipped(dataset, example, error.what());
  }
  throw_readable_again(dataset, example);
}

/// The share of `rank`: every ranks-th example.
std::vector<uint32_t> own_examples(const Dataset& dataset, int rank, int ranks) {
  std::vector<uint32_t> own;
  for (size_t i = static_cast<size_t>(rank); i < dataset.examples.size();
       i += static_cast<size_t>(ranks)) {
    own.push_back(static_cast<uint32_t>(i));
  }
  return own;
}

bool all_in(const Store& old, const RowPlan& plan, const Dataset& dataset) {
  return std::ranges::all_of(plan.rows, [&](const Planned& row) {
    return row.known && row.known->from_store() &&
           old.source(row.known->row) == dataset.examples[row.example].source;
  });
}

}  // namespace

void throw_readable_again(const Dataset& dataset, uint32_t example) {
  throw SystemError(fmt::format(
      "{}: could not be read, and then could: the disk, memory or threads run short; run the same "
      "command again",
      (dataset.root / dataset.examples[example].source).string()));
}

Skipped skipped(const Dataset& dataset, uint32_t example, const std::string& reason) {
  const std::string& source = dataset.examples[example].source;
  const std::string path = (dataset.root / source).string();
  return {source, without_prefix(without_prefix(reason, path + ": "), source + ": ")};
}

bool reusable(const StoreManifest& old, const PrepareOptions& options,
              const std::string& settings) {
  const auto kept = [&](Kind kind) { return std::ranges::find(old.kept, kind) != old.kept.end(); };
  return old.row_settings == settings && std::ranges::all_of(options.keep, kept) &&
         (!options.encode || old.encoder.digest == options.encoder.digest);
}

RowPlan plan_rows(const Dataset& dataset, const PrepareOptions& options,
                  const ReusableRows& known) {
  const std::vector<uint32_t> own = own_examples(dataset, options.rank, options.ranks);
  const Planner planner(dataset, options, known);
  RowPlan plan;
  std::vector<uint32_t> bad;
  if (options.on_progress) options.on_progress("check", 0, own.size());
  for (size_t begin = 0; begin < own.size(); begin += kChunk) {
    const size_t count = std::min(kChunk, own.size() - begin);
    std::vector<std::optional<Planned>> planned(count);
    parallel_for(count, options.threads, [&](size_t i) {
      try {
        planned[i] = planner.plan(own[begin + i]);
      } catch (const SystemError&) {
        throw;
      } catch (const Error&) {  // explained below
      }
    });
    for (size_t i = 0; i < count; ++i) {
      if (planned[i]) {
        plan.rows.push_back(*planned[i]);
      } else {
        bad.push_back(own[begin + i]);
      }
    }
    if (options.on_progress) options.on_progress("check", begin + count, own.size());
  }
  for (const uint32_t example : bad) plan.skipped.push_back(explain(planner, dataset, example));
  plan.all_known = known.store() != nullptr && all_in(*known.store(), plan, dataset);
  return plan;
}

bool known_rows_are_sound(const RowPlan& plan, const PrepareOptions& options,
                          const ReusableRows& known) {
  std::atomic<bool> sound{true};
  std::atomic<uint64_t> verified{0};
  std::mutex mutex;
  parallel_for(plan.rows.size(), options.threads, [&](size_t i) {
    const Planned& row = plan.rows[i];
    if (!row.known || !sound) return;
    try {
      known.verify(*row.known, options.keep);
    } catch (const DataError&) {
      sound = false;
    }
    const std::lock_guard lock(mutex);
    if (options.on_progress) options.on_progress("verify", ++verified, plan.rows.size());
  });
  return sound;
}

}  // namespace kessoku::data
