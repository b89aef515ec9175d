#include "data/prepare/prepare.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>

#include <barrier>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "data/images/fit_image.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Stands in for a VAE: three means and three log-variances out of every eighth pixel.
at::Tensor encode(const at::Tensor& images) {
  const at::Tensor mean = images.slice(2, 0, std::nullopt, 8).slice(3, 0, std::nullopt, 8);
  return at::cat({mean, mean.mul(-3)}, 1);
}

class PrepareStore : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    initialize_images("prepare_test", 1);
    images_ = new tests::TemporaryFolder;
    run_python("images/make_images.py", images_->path().string());
  }
  static void TearDownTestSuite() { delete images_; }

  void SetUp() override {
    put("wide.jpg", "a/1.jpg", "one");
    put("turned.jpg", "a/2.jpg", "two");
    put("large.png", "b/結束.png", "結束バンド, 3");
    put("exact.png", "b/4.png", "");
    put("gray.png", "b/5.png", "five");
    put("wide.jpg", "c/6.jpg", "six");
    write_text(set() / "a/multiply.txt", "0.5");
    options.dataset = set();
    options.store = store();
    options.resolution = 64;
    options.keep = {Kind::kImages, Kind::kMoments};
    options.threads = 2;
    options.encoder = {"0123", 0.5};
    options.latent_channels = 3;
    options.encode = [this](const at::Tensor& images) {
      encoded_ += images.size(0);
      return encode(images);
    };
  }

  void put(const std::string& image, const std::string& name, const std::string& caption) {
    fs::create_directories((set() / name).parent_path());
    fs::copy_file(images_->path() / image, set() / name, fs::copy_options::overwrite_existing);
    write_text((set() / name).replace_extension(".txt"), caption);
  }
  fs::path set() const { return folder_.path() / "set"; }
  fs::path store() const { return folder_.path() / "store"; }

  PrepareSummary prepare(int ranks = 1) {
    std::barrier<> all(ranks);
    std::vector<std::string> texts(static_cast<size_t>(ranks));
    std::vector<PrepareSummary> summaries(static_cast<size_t>(ranks));
    std::vector<std::exception_ptr> failures(static_cast<size_t>(ranks));
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        const auto r = static_cast<size_t>(rank);
        PrepareOptions own = options;
        own.rank = rank;
        own.ranks = ranks;
        own.gather = [&, r](const std::string& text) {
          texts[r] = text;
          all.arrive_and_wait();
          std::vector<std::string> gathered = texts;
          all.arrive_and_wait();
          return gathered;
        };
        try {
          summaries[r] = prepare_store(own);
        } catch (...) {
          failures[r] = std::current_exception();
        }
      });
    }
    threads.clear();
    for (const auto& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
    return summaries[0];
  }

  /// The bytes of a row.
  static std::string bytes(const Store& opened, size_t example, Kind kind) {
    const at::Tensor out =
        at::empty(opened.shape(example, kind), kind == Kind::kImages ? at::kByte : at::kHalf);
    opened.read(example, kind, 0, out);
    return {static_cast<const char*>(out.data_ptr()), out.nbytes()};
  }
  using Content = std::map<std::string, std::array<std::string, 4>>;
  Content content() const {
    const Store opened(store());
    Content result;
    for (size_t i = 0; i < opened.size(); ++i) {
      const Row& row = opened.rows()[i];
      result[opened.source(i)] = {
          opened.caption(i), opened.manifest().categories[row.category].path,
          bytes(opened, i, Kind::kImages), bytes(opened, i, Kind::kMoments)};
    }
    return result;
  }
  /// Turns one byte of a shard, `from_end` before its end or in the middle of what `needle` finds.
  fs::path shard() const { return store() / StoreManifest::read(store()).shards[0].file; }

  static tests::TemporaryFolder* images_;
  tests::TemporaryFolder folder_;
  PrepareOptions options;
  std::atomic<int64_t> encoded_{0};
};
tests::TemporaryFolder* PrepareStore::images_ = nullptr;

TEST_F(PrepareStore, WritesWhatH5pyReads) {
  const PrepareSummary summary = prepare();
  EXPECT_EQ(summary.examples, 6u);
  EXPECT_EQ(summary.encoded, 6u);
  EXPECT_THAT(summary.skipped, IsEmpty());
  const fs::path out = folder_.path() / "rows.json";
  run_python("store/store_oracle.py", fmt::format("'{}' '{}'", store().string(), out.string()));
  const auto rows = nlohmann::json::parse(read_file(out));
  const Store opened(store());
  ASSERT_EQ(rows.size(), opened.size());
  for (size_t i = 0; i < opened.size(); ++i) {
    const auto& row = rows.at(opened.source(i));
    EXPECT_EQ(row["caption"], opened.caption(i));
    EXPECT_EQ(row["bucket"], to_string(opened.manifest().buckets[opened.rows()[i].bucket]));
    EXPECT_EQ(row["category"], opened.manifest().categories[opened.rows()[i].category].path);
    EXPECT_EQ(row["source_size"].get<std::vector<uint32_t>>(),
              (std::vector{opened.provenance(i).source_width, opened.provenance(i).source_height}));
    EXPECT_EQ((row["crop"].get<std::array<int32_t, 4>>()), opened.provenance(i).crop);
    for (const Kind kind : {Kind::kImages, Kind::kMoments}) {
      EXPECT_EQ(row[to_string(kind) + "_shape"].get<std::vector<int64_t>>(), opened.shape(i, kind));
      std::string hex;
      for (const char c : bytes(opened, i, kind))
        hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
      EXPECT_EQ(row[to_string(kind)], hex);
    }
  }
  EXPECT_EQ(rows["a/2.jpg"]["source_size"], nlohmann::json({90, 160}));
}

TEST_F(PrepareStore, KeepsPixelsAndTheirMoments) {
  prepare();
  const Store opened(store());
  for (size_t i = 0; i < opened.size(); ++i) {
    const FittedImage fitted = fit_image(set() / opened.source(i), {.table = bucket_table(64)});
    const at::Tensor images = at::empty(opened.shape(i, Kind::kImages), at::kByte);
    opened.read(i, Kind::kImages, 0, images);
    const std::vector<uint8_t>& pixels = fitted.variants[0].pixels;
    const at::Tensor interleaved = images.permute({1, 2, 0}).contiguous();
    EXPECT_EQ(std::vector<uint8_t>(interleaved.data_ptr<uint8_t>(),
                                   interleaved.data_ptr<uint8_t>() + interleaved.numel()),
              pixels);
    const at::Tensor moments = at::empty(opened.shape(i, Kind::kMoments), at::kHalf);
    opened.read(i, Kind::kMoments, 0, moments);
    EXPECT_TRUE(moments.equal(
        encode(images.unsqueeze(0).to(at::kFloat).div(127.5).sub(1))[0].to(at::kHalf)));
  }
}

TEST_F(PrepareStore, LatentsAreTheMeans) {
  prepare();
  const Content with_moments = content();
  options.keep = {Kind::kLatents};
  options.store = folder_.path() / "latents";
  prepare();
  const Store opened(options.store);
  for (size_t i = 0; i < opened.size(); ++i) {
    const std::string latents = bytes(opened, i, Kind::kLatents);
    EXPECT_EQ(latents, with_moments.at(opened.source(i))[3].substr(0, latents.size()));
    EXPECT_EQ(opened.shape(i, Kind::kLatents)[0], 3);
  }
}

TEST_F(PrepareStore, HoldsTheSameForAnyNumberOfRanks) {
  prepare();
  const Content expected = content();
  const StoreDigests digest = Store(store()).digests();
  for (const int ranks : {2, 3, 8}) {
    fs::remove_all(store());
    EXPECT_EQ(prepare(ranks).examples, 6u);
    EXPECT_EQ(content(), expected);
    EXPECT_EQ(Store(store()).digests(), digest);
  }
}

TEST_F(PrepareStore, ListsBadImagesAndGoesOn) {
  put("cut.jpg", "b/cut.jpg", "bad");
  put("text.jpg", "text.jpg", "bad");
  const PrepareSummary summary = prepare(2);
  EXPECT_EQ(summary.examples, 6u);
  const auto& skipped = StoreManifest::read(store()).skipped;
  ASSERT_EQ(skipped.size(), 2u);
  EXPECT_EQ(skipped[0].source, "b/cut.jpg");
  EXPECT_THAT(skipped[0].reason, HasSubstr("remature end"));
  EXPECT_EQ(skipped[1].source, "text.jpg");
  EXPECT_EQ(skipped[1].reason, "not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIF file");
}

TEST_F(PrepareStore, IfStrictListsAllBadImagesAndWritesNothing) {
  put("cut.jpg", "b/cut.jpg", "bad");
  put("empty.jpg", "a/empty.jpg", "bad");
  options.strict = true;
  try {
    prepare(2);
    FAIL();
  } catch (const BadImages& error) {
    EXPECT_THAT(error.what(), HasSubstr("2 images cannot be used; the first is a/empty.jpg"));
    ASSERT_EQ(error.images().size(), 2u);
    EXPECT_EQ(error.images()[0].reason, "the file is empty");
    EXPECT_EQ(error.images()[1].source, "b/cut.jpg");
  }
  EXPECT_TRUE(fs::is_empty(store()));
  EXPECT_EQ(encoded_, 0);
}

TEST_F(PrepareStore, DoesNothingIfNothingHasChanged) {
  prepare();
  const auto before = fs::last_write_time(shard());
  encoded_ = 0;
  const PrepareSummary summary = prepare(2);
  EXPECT_TRUE(summary.unchanged);
  EXPECT_EQ(summary.reused, 6u);
  EXPECT_EQ(encoded_, 0);
  EXPECT_EQ(fs::last_write_time(shard()), before);
}

TEST_F(PrepareStore, EncodesOnlyWhatIsNew) {
  prepare();
  encoded_ = 0;
  put("small.webp", "c/7.webp", "seven");
  put("wide.jpg", "a/1.jpg", "one, renamed");
  fs::rename(set() / "b/4.png", set() / "c/moved.png");
  fs::remove(set() / "c/6.jpg");
  const PrepareSummary summary = prepare(2);
  EXPECT_EQ(summary.examples, 6u);
  EXPECT_EQ(summary.encoded, 1u);
  EXPECT_EQ(summary.reused, 5u);
  EXPECT_EQ(encoded_, 1);
  const Content updated = content();
  EXPECT_EQ(updated.at("a/1.jpg")[0], "one, renamed");
  EXPECT_EQ(updated.at("c/moved.png")[1], "c");
  EXPECT_FALSE(updated.contains("c/6.jpg"));
  fs::remove_all(store());
  prepare();
  EXPECT_EQ(content(), updated);
}

TEST_F(PrepareStore, EncodesAllAgainForAnotherVae) {
  prepare();
  encoded_ = 0;
  options.encoder.digest = "4567";
  EXPECT_THROW(prepare(), Error) << "all rows would be replaced";
  options.replace = true;
  EXPECT_EQ(prepare().encoded, 6u);
  EXPECT_EQ(encoded_, 6);
}

TEST_F(PrepareStore, RefreshesWeightsWithoutTouchingRows) {
  prepare();
  const StoreDigests digest = Store(store()).digests();
  write_text(set() / "a/multiply.txt", "3");
  EXPECT_TRUE(prepare().unchanged);
  EXPECT_EQ(StoreManifest::read(store()).categories[1].multiply, 3);
  EXPECT_NE(Store(store()).digests(), digest);
}

TEST_F(PrepareStore, CarriesTheSettingsOfEachImage) {
  write_text(set() / "b/cond_dropout.txt", "0.25");
  write_text(set() / "b/flip_p.txt", "0.5");
  prepare(2);
  const Store opened(store());
  for (size_t i = 0; i < opened.size(); ++i) {
    const Settings& settings = opened.manifest().settings.at(opened.rows()[i].settings);
    const bool in_b = opened.source(i).starts_with("b/");
    EXPECT_EQ(settings.multiply, opened.source(i).starts_with("a/") ? 0.5 : 1);
    EXPECT_EQ(settings.caption_dropout, in_b ? std::optional(0.25) : std::nullopt);
    EXPECT_EQ(settings.flip, in_b ? std::optional(0.5) : std::nullopt);
  }
}

TEST_F(PrepareStore, LeavesNothingButTheStore) {
  prepare(3);
  prepare(2);
  options.encoder.digest = "other";
  options.replace = true;
  prepare(2);
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(store())) ++files;
  EXPECT_EQ(files, 3u);
}

TEST_F(PrepareStore, EncodesAgainWhereTheOldStoreIsDamaged) {
  prepare();
  const Content expected = content();
  {
    std::fstream file(shard(), std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes = read_file(shard());
    const auto place = bytes.find(expected.at("a/1.jpg")[2]);
    ASSERT_NE(place, std::string::npos);
    file.seekp(static_cast<std::streamoff>(place));
    file.put(static_cast<char>(bytes[place] ^ 1));
  }
  write_text(set() / "a/2.txt", "changed");
  const PrepareSummary summary = prepare();
  EXPECT_EQ(summary.encoded, 1u);
  EXPECT_THAT(summary.warnings, Contains(HasSubstr("checksum")));
  EXPECT_EQ(content().at("a/1.jpg"), expected.at("a/1.jpg"));
}

TEST_F(PrepareStore, NeverWritesIntoAFolderOfOtherFiles) {
  options.store = set();
  try {
    prepare();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
  }
}

TEST_F(PrepareStore, OfAFailingRankFailsOnAllRanksWithItsReason) {
  options.encode = [](const at::Tensor&) -> at::Tensor { throw DataError("weights are damaged"); };
  EXPECT_THROW(prepare(3), Error);
  EXPECT_FALSE(fs::exists(store() / "store.json"));
}

}  // namespace
}  // namespace kessoku::data
