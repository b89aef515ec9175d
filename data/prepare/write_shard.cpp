#include "data/prepare/write_shard.h"

#include <fmt/format.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/parallel.h"
#include "base/text.h"
#include "data/prepare/row_maker.h"
#include "data/prepare/shard_plan.h"
#include "data/store/store_folder.h"

namespace kessoku::data {

namespace {

class ShardFiller {
 public:
  ShardFiller(const Dataset& dataset, const PrepareOptions& options, const ReusableRows& known,
              const RowPlan& plan)
      : dataset_(dataset),
        options_(options),
        known_(known),
        maker_(dataset, options),
        shard_(plan_shard(dataset, options, plan)) {}

  Part fill(const std::string& row_settings) {
    open(row_settings);
    make(copy_known());
    finish();
    return std::move(part_);
  }

 private:
  void open(const std::string& row_settings) {
    for (size_t w = 0; w < known_.works().size(); ++w) {
      const InterruptedWork& work = known_.works()[w];
      if (work.plan != shard_.digest || work.layout.kept != shard_.layout.kept) continue;
      writer_ = ShardWriter::resume(work.shard, shard_.layout);
      journal_ = writer_ ? ShardJournal::resume(work) : nullptr;
      resumed_ = w + 1;
      if (journal_) return;
    }
    resumed_ = 0;
    writer_ = std::make_unique<ShardWriter>(free_shard_path(options_.store, options_.rank),
                                            shard_.layout);
    journal_ = std::make_unique<ShardJournal>(*writer_, row_settings, shard_.digest);
  }

  bool in_place(const PlacedRow& row) const {
    const ReusableRows::Place& place = *row.planned->known;
    if (resumed_ == 0 || place.origin != resumed_) return false;
    const WorkEntry& entry = known_.works()[resumed_ - 1].entries[place.row];
    return entry.group == row.group && entry.row == row.row;
  }

  /// Calls `work` for each row on all threads, and `take(row, what it gave)` one at a time.
  template <typename Work, typename Take>
  void for_each(const char* stage, const std::vector<PlacedRow*>& rows, const Work& work,
                const Take& take) {
    uint64_t done = 0;
    std::mutex mutex;
    if (options_.on_progress && !rows.empty()) options_.on_progress(stage, 0, rows.size());
    parallel_for(rows.size(), options_.threads, [&](size_t i) {
      const auto result = work(*rows[i]);
      const std::lock_guard lock(mutex);
      take(*rows[i], result);
      ++done;
      if (options_.on_progress) options_.on_progress(stage, done, rows.size());
    });
  }

  /// Returns what is left to be made.
  std::vector<PlacedRow*> copy_known() {
    std::vector<PlacedRow*> rest, found;
    for (PlacedRow& row : shard_.rows) (row.planned->known ? found : rest).push_back(&row);
    const auto damage_of = [&](PlacedRow& row) -> std::string {
      try {
        copy(row);
        return {};
      } catch (const DataError& error) {
        return error.what();
      }
    };
    for_each("copy", found, damage_of, [&](PlacedRow& row, const std::string& damage) {
      if (damage.empty()) {
        ++part_.reused;
      } else {
        part_.warnings.push_back(fmt::format("made again: {}", damage));
        rest.push_back(&row);
      }
    });
    std::ranges::sort(rest);  // as they lie in memory, hence in the shard
    return rest;
  }

  void copy(PlacedRow& row) {
    const ReusableRows::Place& place = *row.planned->known;
    const bool there = in_place(row);
    for (const Kind kind : options_.keep) {
      std::vector<std::byte> bytes(
          row_bytes(kind, shard_.layout.groups[row.group].shapes.at(kind)));
      for (int64_t v = 0; v < options_.fit.variants; ++v) {
        known_.read(place, kind, v, bytes);
        if (there) {
          writer_->take(row.group, row.row, kind, v, checksum(bytes));
        } else {
          writer_->write(row.group, row.row, kind, v, bytes);
        }
      }
    }
    finish_row(row, known_.provenance(place), known_.variants(place), there);
  }

  void make(const std::vector<PlacedRow*>& rows) {
    std::vector<const PlacedRow*> bad;
    std::vector<std::string> warnings;
    const auto make_one = [&](PlacedRow& row) -> std::optional<std::string> {
      std::optional<MadeRow> made = maker_.make(*row.planned);
      if (!made) return std::nullopt;
      write(row, *made);
      return std::move(made->warning);
    };
    for_each("encode", rows, make_one, [&](PlacedRow& row, const auto& warning) {
      if (warning) {
        ++part_.encoded;
        if (!warning->empty()) warnings.push_back(*warning);
      } else {
        bad.push_back(&row);
      }
    });
    std::ranges::sort(warnings);
    warnings = shortened(std::move(warnings), "images");
    part_.warnings.insert(part_.warnings.end(), warnings.begin(), warnings.end());
    std::ranges::sort(bad);
    for (const PlacedRow* row : bad) part_.skipped.push_back(maker_.explain(*row->planned));
  }

  void write(PlacedRow& row, MadeRow& made) {
    for (size_t v = 0; v < made.tensors.size(); ++v) {
      for (const auto& [kind, tensor] : made.tensors[v]) {
        writer_->write(row.group, row.row, kind, static_cast<int64_t>(v),
                       {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
      }
    }
    finish_row(row, made.provenance, std::move(made.variants), false);
  }

  void finish_row(PlacedRow& row, const Provenance& provenance, std::vector<Variant> variants,
                  bool journalled) {
    if (!journalled) {
      WorkEntry entry{row.group, row.row, provenance, variants, {}};
      for (const Kind kind : options_.keep) {
        for (int64_t v = 0; v < options_.fit.variants; ++v)
          entry.checksums.push_back(writer_->checksum_of(row.group, row.row, kind, v));
      }
      journal_->append(entry);
    }
    row.there = true;
    row.provenance = provenance;
    if (variants.size() > 1) row.variants = std::move(variants);
  }

  /// Publishes nothing: the shard is whole and on disk, but only the manifest makes it count.
  void finish() {
    std::vector<std::vector<RowInfo>> infos(shard_.layout.groups.size());
    for (const PlacedRow& row : shard_.rows) {
      if (!row.there) continue;
      ++part_.rows;
      const Example& example = dataset_.examples[row.planned->example];
      infos[row.group].push_back({example.caption, example.source, example.category,
                                  example.settings, example.caption_parts, row.provenance,
                                  row.variants});
    }
    if (part_.rows == 0) return;
    part_.shard = part_.rows == shard_.rows.size() ? writer_->finish(infos) : close_gaps(infos);
  }

  /// Images that could not be decoded left gaps: the other rows move into another part, and the
  /// first one stays until all is published.
  StoreManifest::Shard close_gaps(std::vector<std::vector<RowInfo>>& infos) {
    ShardLayout layout{shard_.layout.kept, shard_.layout.variants, {}};
    std::vector<uint32_t> group_of(infos.size());
    for (uint32_t g = 0; g < infos.size(); ++g) {
      if (infos[g].empty()) continue;
      group_of[g] = static_cast<uint32_t>(layout.groups.size());
      layout.groups.push_back(shard_.layout.groups[g]);
      layout.groups.back().rows = infos[g].size();
    }
    std::erase_if(infos, [](const auto& group) { return group.empty(); });
    ShardWriter writer(writer_->path(), layout, ".compact");
    std::vector<uint64_t> next(layout.groups.size());
    for (const PlacedRow& row : shard_.rows) {
      if (!row.there) continue;
      const uint32_t group = group_of[row.group];
      writer_->copy(row.group, row.row, writer, group, next[group]++);
    }
    return writer.finish(infos);
  }

  const Dataset& dataset_;
  const PrepareOptions& options_;
  const ReusableRows& known_;
  RowMaker maker_;
  ShardPlan shard_;
  std::unique_ptr<ShardWriter> writer_;
  std::unique_ptr<ShardJournal> journal_;
  size_t resumed_ = 0;  ///< the work that goes on, as ReusableRows::Place::origin; 0: none
  Part part_;
};

}  // namespace

Part write_shard(const Dataset& dataset, const PrepareOptions& options, const ReusableRows& known,
                 const std::string& row_settings, const RowPlan& plan) {
  if (plan.rows.empty()) return {};
  return ShardFiller(dataset, options, known, plan).fill(row_settings);
}

}  // namespace kessoku::data
