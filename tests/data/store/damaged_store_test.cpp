// What a reader does with a store that is damaged, cut short, repacked or hostile.
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "data/images/image.h"
#include "data/prepare/prepare.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class DamagedStore : public ::testing::Test {
 protected:
  void SetUp() override {
    initialize_images("damaged_store_test", 1);
    const fs::path images = folder_.path() / "pictures", set = folder_.path() / "set";
    run_python("images/make_images.py", images.string());
    fs::create_directories(set);
    for (const char* name : {"exact.png", "wide.jpg", "gray.png"})
      fs::copy_file(images / name, set / name);
    PrepareOptions options;
    options.dataset = set;
    options.store = store();
    options.resolution = 64;
    options.keep = {Kind::kImages};
    prepare_store(options);
  }
  fs::path store() const { return folder_.path() / "store"; }
  fs::path shard() const { return store() / "shard-00000.h5"; }

  static void read_all(const Store& opened) {
    for (size_t i = 0; i < opened.size(); ++i) {
      opened.read(i, Kind::kImages, 0, at::empty(opened.shape(i, Kind::kImages), at::kByte));
    }
  }
  void expect_refused(const std::string& reason) const {
    try {
      read_all(Store(store()));
      ADD_FAILURE() << "taken; expected: " << reason;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  }
  /// Changes the shard with h5py, as variable `f`, and lets the manifest agree about its length.
  void with_h5py(const std::string& lines) const {
    run_python_line(
        fmt::format("import h5py, json, os, numpy as np\n"
                    "with h5py.File('{0}', 'r+') as f:\n"
                    "  g = f['64x64']\n"
                    "{1}\n"
                    "m = json.load(open('{2}/store.json'))\n"
                    "m['shards'][0]['bytes'] = os.path.getsize('{0}')\n"
                    "m.pop('checksum', None)\n"
                    "json.dump(m, open('{2}/store.json', 'w'))",
                    shard().string(), lines, store().string()));
  }
  void edit_manifest(const std::string& lines) const {
    run_python_line(fmt::format(
        "import json\nm = json.load(open('{0}/store.json'))\nm.pop('checksum', None)\n{1}\n"
        "json.dump(m, open('{0}/store.json', 'w'))",
        store().string(), lines));
  }
  tests::TemporaryFolder folder_;
};

TEST_F(DamagedStore, RowsAreFoundByTheirChecksum) {
  with_h5py("  g['images'][1, 0, 2, 3, 4] ^= 1");
  expect_refused("row 1 (gray.png) is damaged");
}

TEST_F(DamagedStore, CaptionsAreFoundByTheirChecksum) {
  with_h5py("  g['caption_bytes'][0] ^= 1");
  expect_refused("captions or other columns are damaged");
}

TEST_F(DamagedStore, ManifestsNestedTooDeeplyAreRefused) {
  // Copying what is nested so deeply would run out of stack.
  std::ofstream(store() / "store.json")
      << R"({"version": 2, "checksum": "0", "shards": )" << std::string(100'000, '[')
      << std::string(100'000, ']') << "}";
  expect_refused("store.json: nested too deeply");
}

TEST_F(DamagedStore, ShardsCutShortAreRefused) {
  fs::resize_file(shard(), fs::file_size(shard()) - 5000);
  expect_refused("cut short");
  edit_manifest("m['shards'][0]['bytes'] = 0");
  expect_refused("shard-00000.h5");
  fs::resize_file(shard(), 0);
  expect_refused("shard-00000.h5");
  fs::remove(shard());
  expect_refused("cannot be opened");
}

TEST_F(DamagedStore, RepackedShardsAreReadThroughTheLibrary) {
  with_h5py(
      "  a = g['images'][...]; del g['images']\n"
      "  g.create_dataset('images', data=a, chunks=(1, 1, 3, 16, 64), compression='gzip')\n"
      "  c = g['category'][...]; del g['category']\n"
      "  g.create_dataset('category', data=c, chunks=(1,), compression='gzip')");
  read_all(Store(store()));
  with_h5py("  g['images'][0, 0, 0, 0, 0] ^= 1");
  expect_refused("row 0 (exact.png) is damaged");
}

TEST_F(DamagedStore, ClaimsThatTheFileCannotHoldAreRefusedBeforeMemoryIsTaken) {
  with_h5py(
      "  del g['caption_bytes']\n"
      "  g.create_dataset('caption_bytes', (1 << 50,), 'u1', chunks=(1 << 20,))");
  expect_refused("claims more than the file can hold");
}

TEST_F(DamagedStore, DataElsewhereIsRefused) {
  with_h5py(
      "  del g['images']\n"
      "  g.create_dataset('images', (2, 1, 3, 64, 64), 'u1', external=[('/etc/passwd', 0, "
      "h5py.h5f.UNLIMITED)])");
  expect_refused("stored in other files");
  with_h5py("  del g['images']\n  g['images'] = h5py.ExternalLink('/tmp/other.h5', '/x')");
  expect_refused("a link to elsewhere");
}

TEST_F(DamagedStore, ColumnsThatDoNotFitAreRefused) {
  with_h5py("  g['category'][0] = 7");
  expect_refused("names a category");
  with_h5py("  g['category'][0] = 0\n  g['settings'][0] = 7");
  expect_refused("names settings");
  with_h5py("  g['settings'][0] = 0");
  with_h5py("  g['caption_offsets'][1] = 1 << 60");
  expect_refused("do not fit the text");
  with_h5py("  del g['caption_offsets']");
  expect_refused("caption_offsets: missing");
}

TEST_F(DamagedStore, OtherTypesAndShapesAreRefused) {
  with_h5py("  a = g['images'][...]; del g['images']; g['images'] = a.astype('f4')");
  expect_refused("not of the expected type");
  with_h5py("  del g['images']; g['images'] = np.zeros((2, 1, 3, 64, 63), 'u1')");
  expect_refused("not of the bucket's shape");
  with_h5py("  del g['images']; g['images'] = np.zeros((1, 1, 3, 64, 64), 'u1')");
  expect_refused("not of the expected shape");
}

TEST_F(DamagedStore, ManifestsAreCheckedKeyByKey) {
  edit_manifest("m['shards'][0]['file'] = '../../etc/passwd'");
  expect_refused("not the name of a shard");
  edit_manifest("m['shards'][0]['file'] = 'shard-00000.h5'; m['shards'][0]['rows']['64x64'] = -1");
  expect_refused("store.json");
  edit_manifest("m['shards'][0]['rows']['64x64'] = 1 << 62");
  expect_refused("shard-00000.h5");
  edit_manifest("m['buckets'][0] = '64x'");
  expect_refused("not a bucket");
  edit_manifest("del m['encoder']");
  expect_refused("encoder");
  edit_manifest("m['version'] = 99");
  expect_refused("store version 99");
  write_text(store() / "store.json", std::string(100000, '['));
  expect_refused("store.json");
  fs::remove(store() / "store.json");
  EXPECT_THROW(Store{store()}, UsageError);
}

TEST_F(DamagedStore, RandomDamageIsNoticedOrHarmless) {
  const std::string sound = read_file(shard());
  std::mt19937 random(7);
  for (int trial = 0; trial < 300; ++trial) {
    std::string bytes = sound;
    for (int k = 0; k < 4; ++k)
      bytes[random() % (trial % 2 == 0 ? 4096 : bytes.size())] ^=
          static_cast<char>(1 + random() % 255);
    std::ofstream(shard(), std::ios::binary) << bytes;
    try {
      read_all(Store(store()));
    } catch (const DataError&) {
    }
  }
}

}  // namespace
}  // namespace kessoku::data
