#include "data/prepare_write.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <future>

#include "base/checksum.h"
#include "base/error.h"
#include "data/parallel.h"

namespace kessoku::data {

namespace {

constexpr int64_t kPixelsAtOnce = int64_t{1} << 20;  ///< of a batch for the encoder
constexpr size_t kMostAtOnce = 32;

/// A row's tensors on their way to the shard.
using RowTensors = std::map<Kind, at::Tensor>;

/// (3, H, W) u8
at::Tensor to_planes(Image& image) {
  return at::from_blob(image.pixels.data(), {image.height, image.width, 3}, at::kByte)
      .permute({2, 0, 1})
      .contiguous();
}

class RowMaker {
 public:
  RowMaker(const Dataset& dataset, const PrepareOptions& options, const std::vector<Bucket>& table,
           const Store* old, int threads, Part& part)
      : dataset_(dataset),
        options_(options),
        table_(table),
        old_(old),
        threads_(threads),
        part_(part) {}

  /// Pixels of the rows that are not reused, decoded in parallel; undefined for those that are.
  std::vector<at::Tensor> decode(std::span<Planned*> rows) const {
    std::vector<at::Tensor> pixels(rows.size());
    parallel_for(rows.size(), threads_, [&](size_t i) {
      if (!rows[i]->reuse) pixels[i] = decode(*rows[i]);
    });
    return pixels;
  }

  std::vector<RowTensors> make(std::span<Planned*> rows, std::vector<at::Tensor> pixels) {
    std::vector<RowTensors> made(rows.size());
    std::vector<at::Tensor> fresh;
    std::vector<size_t> places;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i]->reuse && copy(*rows[i], made[i])) {
        ++part_.reused;
        continue;
      }
      ++part_.encoded;
      fresh.push_back(pixels[i].defined() ? pixels[i] : decode(*rows[i]));
      places.push_back(i);
    }
    const at::Tensor moments = fresh.empty() || !options_.encode ? at::Tensor() : encode(fresh);
    for (size_t k = 0; k < places.size(); ++k) {
      RowTensors& row = made[places[k]];
      for (const Kind kind : options_.keep) {
        row[kind] = kind == Kind::kImages ? fresh[k]
                    : kind == Kind::kMoments
                        ? half(moments[static_cast<int64_t>(k)], *rows[places[k]])
                        : half(moments[static_cast<int64_t>(k)].chunk(2)[0], *rows[places[k]]);
      }
    }
    return made;
  }

 private:
  const std::string& source(const Planned& row) const {
    return dataset_.examples[row.example].source;
  }

  at::Tensor decode(Planned& row) const {
    if (row.image) {
      const at::Tensor planes = to_planes(*row.image);
      row.image.reset();
      return planes;
    }
    const std::string encoded = read_image_file(dataset_.root / source(row));
    if (checksum(std::as_bytes(std::span(encoded))) != row.provenance.content_hash) {
      throw DataError(
          fmt::format("{}: changed while the store was prepared; run it again", source(row)));
    }
    FittedImage fitted = fit_image(encoded, source(row), {.table = table_});
    return to_planes(fitted.variants[0]);
  }

  /// False if the old store is damaged here: then the row is made anew.
  bool copy(const Planned& row, RowTensors& out) {
    try {
      for (const Kind kind : options_.keep) {
        out[kind] =
            at::empty(old_->shape(*row.reuse, kind), kind == Kind::kImages ? at::kByte : at::kHalf);
        old_->read(*row.reuse, kind, 0, out[kind]);
      }
      return true;
    } catch (const DataError& error) {
      part_.warnings.push_back(fmt::format("encoded again: {}", error.what()));
      return false;
    }
  }

  at::Tensor encode(const std::vector<at::Tensor>& pixels) const {
    const at::Tensor moments =
        options_.encode(at::stack(pixels).to(at::kFloat).div(127.5).sub(1)).cpu();
    if (moments.dim() != 4 || moments.size(0) != static_cast<int64_t>(pixels.size()) ||
        moments.size(1) % 2 != 0) {
      throw std::logic_error("prepare_store: `encode` must give (B, 2C, h, w)");
    }
    return moments;
  }

  at::Tensor half(const at::Tensor& values, const Planned& row) const {
    const at::Tensor result = values.to(at::kHalf).contiguous();
    if (!at::isfinite(result).all().item<bool>()) {
      throw DataError(fmt::format(
          "{}: the VAE gives numbers beyond half precision; are its weights sound?", source(row)));
    }
    return result;
  }

  const Dataset& dataset_;
  const PrepareOptions& options_;
  const std::vector<Bucket>& table_;
  const Store* old_;
  int threads_;
  Part& part_;
};

std::vector<RowInfo> row_infos(const Dataset& dataset, const std::vector<Planned*>& rows) {
  std::vector<RowInfo> infos;
  for (const Planned* row : rows) {
    const Example& example = dataset.examples[row->example];
    infos.push_back({example.caption, example.source, example.category, example.settings,
                     example.caption_parts, row->provenance});
  }
  return infos;
}

std::map<Kind, std::vector<int64_t>> shapes_of(const RowTensors& row) {
  std::map<Kind, std::vector<int64_t>> shapes;
  for (const auto& [kind, tensor] : row) shapes[kind] = tensor.sizes().vec();
  return shapes;
}

/// The next rows are decoded while the last ones are encoded.
void write_bucket(const Bucket& bucket, const std::vector<RowInfo>& infos,
                  std::vector<Planned*>& rows, RowMaker& maker, ShardWriter& writer,
                  const std::function<void(uint64_t)>& on_rows) {
  const auto at_once = static_cast<size_t>(std::clamp<int64_t>(
      kPixelsAtOnce / (bucket.width * bucket.height), 1, static_cast<int64_t>(kMostAtOnce)));
  const auto batch = [&](size_t begin) {
    return begin < rows.size()
               ? std::span(rows).subspan(begin, std::min(at_once, rows.size() - begin))
               : std::span<Planned*>();
  };
  const auto ahead = [&](size_t begin) {
    return std::async(std::launch::async,
                      [&maker, next = batch(begin)] { return maker.decode(next); });
  };
  auto pixels = ahead(0);
  for (size_t begin = 0; begin < rows.size(); begin += at_once) {
    std::vector<at::Tensor> ready = pixels.get();
    pixels = ahead(begin + at_once);
    const std::vector<RowTensors> made = maker.make(batch(begin), std::move(ready));
    if (begin == 0) writer.begin_bucket(bucket, infos, shapes_of(made[0]));
    for (size_t i = 0; i < made.size(); ++i) {
      for (const auto& [kind, tensor] : made[i]) {
        writer.write(begin + i, kind,
                     {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
      }
    }
    on_rows(made.size());
  }
}

}  // namespace

void write_shard(const std::filesystem::path& path, const Dataset& dataset,
                 const PrepareOptions& options, const std::vector<Bucket>& table, const Store* old,
                 int threads, Plan& plan, Part& part) {
  std::vector<std::vector<Planned*>> by_bucket(table.size());
  for (Planned& row : plan.rows) by_bucket[row.bucket].push_back(&row);
  RowMaker maker(dataset, options, table, old, threads, part);
  ShardWriter writer(path, options.keep);
  uint64_t done = 0;
  for (size_t b = 0; b < table.size(); ++b) {
    if (by_bucket[b].empty()) continue;
    write_bucket(table[b], row_infos(dataset, by_bucket[b]), by_bucket[b], maker, writer,
                 [&](uint64_t rows) {
                   done += rows;
                   if (options.on_progress) options.on_progress(done, plan.rows.size());
                 });
  }
  part.shard = writer.finish();
}

}  // namespace kessoku::data
