#include "model/weights/torch_file.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "model/weights/safetensors.h"
#include "tests/model/python_oracle.h"
#include "tests/model/weights/hand_made.h"

namespace kessoku::model {
namespace {

using namespace kessoku::testing;
using pickled::dict;
using pickled::storage;
using pickled::tensor;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

class TorchFile : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "x.ckpt"; }

  /// A file whose pickle is `value`, with storages "0" and "1" of 24 bytes.
  void write(const std::string& value) const {
    write_bytes(file(), make_zip({{"archive/data.pkl", pickled::whole(value)},
                                  {"archive/byteorder", "little"},
                                  {"archive/data/0", std::string(24, '\0')},
                                  {"archive/data/1", std::string(24, '\1')}}));
  }
  void expect_refused(const std::string& why) const {
    EXPECT_THAT([&] { open_weight_file(file()); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("x.ckpt"), HasSubstr(why))));
  }
  void expect_refused(const std::string& value, const std::string& why) const {
    write(value);
    expect_refused(why);
  }

  TemporaryFolder folder_;
};

void expect_same_tensors(const WeightFile& file, const WeightFile& expected) {
  EXPECT_EQ(file.names(), expected.names());
  for (const std::string& name : expected.names()) {
    if (!file.contains(name)) continue;
    const at::Tensor found = file.tensor(name), wanted = expected.tensor(name);
    EXPECT_EQ(found.scalar_type(), wanted.scalar_type()) << name;
    EXPECT_EQ(found.sizes(), wanted.sizes()) << name;
    // The bytes, as few operations know the newest dtypes.
    const auto bytes = [](const at::Tensor& t) { return t.contiguous().view(at::kByte); };
    if (found.dim() == 0) {
      EXPECT_TRUE(at::equal(found, wanted)) << name;
    } else if (found.numel() > 0) {
      EXPECT_TRUE(at::equal(bytes(found), bytes(wanted))) << name;
    }
  }
}

TEST_F(TorchFile, ReadsWhatPyTorchWrites) {
  run_oracle("weights/torch_file_oracle.py", {folder_.path().string()});
  size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    if (entry.path().extension() != ".safetensors") continue;
    SCOPED_TRACE(entry.path().stem().string());
    const WeightFile found =
        open_weight_file(std::filesystem::path(entry.path()).replace_extension(".ckpt"));
    expect_same_tensors(found, open_weight_file(entry.path()));
    if (entry.path().stem() == "zip-bare") {  // views of the mapping, not copies
      EXPECT_EQ(found.tensor("every_third").const_data_ptr(),
                found.tensor("shared").const_data_ptr());
      EXPECT_EQ(found.tensor("transposed").strides(), at::IntArrayRef({1, 5}));
    }
    if (entry.path().stem() == "zip-lightning" || entry.path().stem() == "legacy-lightning") {
      EXPECT_EQ(found.metadata().at("global_step"), "470000");
      EXPECT_EQ(found.metadata().at("pytorch-lightning_version"), "1.4.2");
      EXPECT_EQ(found.metadata().at("scale"), "0.5");
      EXPECT_EQ(found.metadata().at("fast"), "true");
      EXPECT_EQ(found.metadata().at("negative"), "-1099511627776");
    }
    ++compared;
  }
  EXPECT_EQ(compared, 17u);

  for (const auto& [name, why] : {std::pair{"zip-whole-module", "a Python object (torch.nn"},
                                  {"legacy-whole-module", "a Python object, not a dictionary"},
                                  {"zip-tensor", "_rebuild_tensor_v2"},
                                  {"legacy-tensor", "_rebuild_tensor_v2"},
                                  {"zip-deflated", "compressed"},
                                  {"zip-torchscript", "TorchScript"}}) {
    EXPECT_THAT([&] { open_weight_file(folder_.path() / (std::string(name) + ".ckpt")); },
                ThrowsMessage<DataError>(HasSubstr(why)));
  }
}

TEST_F(TorchFile, ExecutesNothing) {
  const std::filesystem::path trace = folder_.path() / "executed";
  const std::string attack =
      pickled::call(pickled::global("os", "system"), {pickled::text("touch " + trace.string())});
  const std::string good = tensor(storage("0", 6), 0, {6}, {1});
  write(dict({{"a", good}, {"b", attack}, {"c", attack + good + "b"}}));
  EXPECT_EQ(open_weight_file(file()).names(), std::vector<std::string>{"a"});
  expect_refused(attack, "a Python object (os.system)");
  // Names that only look like PyTorch's.
  const std::vector<std::string> arguments{storage("0", 6), pickled::integer(0),
                                           pickled::integers({6}), pickled::integers({1})};
  write(dict({{"a", good},
              {"b", pickled::call(pickled::global("torch._utils", "_rebuild_tensor_v2.__globals__"),
                                  arguments)},
              {"c", pickled::call(pickled::text("torch._utils._rebuild_tensor_v2"), arguments)}}));
  EXPECT_EQ(open_weight_file(file()).names(), std::vector<std::string>{"a"});
  EXPECT_FALSE(std::filesystem::exists(trace));
}

TEST_F(TorchFile, RefusesTensorsBeyondTheirStorage) {
  const auto expect = [&](int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides, const std::string& why) {
    expect_refused(dict({{"conv.weight", tensor(storage("0", 6), offset, shape, strides)}}),
                   "tensor \"conv.weight\" " + why);
  };
  expect(0, {7}, {1}, "of shape [7], strides [1] and offset 0 reaches beyond its storage of 6");
  expect(1, {6}, {1}, "of shape [6]");
  expect(6, {1}, {1}, "of shape [1]");
  expect(kMax, {2}, {1}, "of shape [2]");
  expect(0, {2}, {kMax}, "of shape [2]");
  expect(0, {2, 3}, {kMax / 2, kMax / 2}, "of shape [2, 3]");
  expect(0, {kMax}, {0}, "has shape");
  expect(0, {1000}, {0}, "of shape [1000] repeats the 6 elements");
  expect(0, {kMax, kMax, 0}, {0, 0, 0}, "has shape");
  expect(0, {-1}, {1}, "has no valid shape");
  expect(0, {2}, {-1}, "has no valid strides");
  expect(-1, {2}, {1}, "has no valid offset");
  expect(0, {2, 3}, {1}, "has shape [2, 3] and strides [1]");
  expect(0, std::vector<int64_t>(9, 1), std::vector<int64_t>(9, 1), "has no valid shape");
}

TEST_F(TorchFile, RefusesStoragesThatAreNotWhatTheyShouldBe) {
  const auto expect = [&](const std::string& found, const std::string& why) {
    expect_refused(dict({{"a", tensor(found, 0, {1}, {1})}}), why);
  };
  expect(storage("2", 6), "has no data/2");
  expect(storage("../../etc/passwd", 6), "has no data/../../etc/passwd");
  expect(storage("0", 7), "data/0 has 24 bytes, but 7 elements of 4 are expected");
  expect(storage("0", 5), "data/0 has 24 bytes");
  expect(storage("0", -6), "not described as PyTorch does");
  expect(storage("0", kMax), "data/0 has 24 bytes");
  expect(storage("0", 6, "QInt32Storage"), "of type \"torch.QInt32Storage\"");
  expect("N", "storage, offset, shape");
  expect("NQ", "not described as PyTorch does");
  expect(pickled::tuple({}) + "Q", "not described as PyTorch does");
  expect("Pstorage\n", "not described as PyTorch does");
}

TEST_F(TorchFile, FollowsNoCycle) {
  // _rebuild_parameter of itself, and a dictionary in itself.
  write("}q\x01(" + pickled::text("a") + pickled::global("torch._utils", "_rebuild_parameter") +
        "]q\x02Rq\x03" + pickled::text("state_dict") + "h\x01" + "u");
  EXPECT_TRUE(open_weight_file(file()).entries().empty());
}

TEST_F(TorchFile, BoundsWhatSharedTextsCost) {
  std::string shared = "}(" + pickled::text(std::string(1 << 20, 'k')) + "q\x01" +
                       tensor(storage("0", 6), 0, {6}, {1}) + "q\x02";
  for (int i = 0; i < 200'000; ++i) shared += "h\x01h\x02";
  expect_refused(shared + "u", "has a name of more than 1000 bytes");
}

TEST_F(TorchFile, SaysWhatElseAnArchiveMayBe) {
  write_bytes(file(), make_zip({{"word/document.xml", "<xml/>"}}));
  expect_refused("without a data.pkl");
  write_bytes(file(), make_zip({{"a/data.pkl", "}."}, {"b/data.pkl", "}."}}));
  expect_refused("more than one data.pkl");
  write_bytes(file(), make_zip({{"a/data.pkl", "}."}, {"a/byteorder", "big"}}));
  expect_refused("byte order \"big\"");
  write_bytes(file(), make_zip({{.name = "a/data.pkl", .content = "}.", .crc = 7}}));
  expect_refused("checksum");
  expect_refused("]", "no dictionary of tensors");
}

TEST_F(TorchFile, NamesTheTensorWhoseBytesChanged) {
  const std::string value = dict({{"conv.weight", tensor(storage("0", 6), 0, {6}, {1})}});
  write_bytes(file(), make_zip({{"a/data.pkl", pickled::whole(value)},
                                {.name = "a/data/0", .content = std::string(24, 'x'), .crc = 7}}));
  const WeightFile opened = open_weight_file(file());
  EXPECT_THAT([&] { opened.tensor("conv.weight"); },
              ThrowsMessage<DataError>(HasSubstr("tensor \"conv.weight\": its bytes do not have")));
}

TEST_F(TorchFile, RefusesDamagedLegacyFiles) {
  const auto legacy = [](const std::string& object, const std::string& rest) {
    return "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." +
           pickled::whole(pickled::integer(1001)) + pickled::whole("}") + pickled::whole(object) +
           rest;
  };
  const std::string object = dict({{"a", tensor(storage("7", 2), 0, {2}, {1})}});
  const std::string keys = pickled::whole("](" + pickled::text("7") + "e");
  const auto expect = [&](const std::string& bytes, const std::string& why) {
    write_bytes(file(), bytes);
    expect_refused(why);
  };
  const std::string eight(8, '\0');
  write_bytes(file(), legacy(object, keys + little_endian<uint64_t>(2) + eight));
  EXPECT_TRUE(at::equal(open_weight_file(file()).tensor("a"), at::zeros({2})));

  expect(legacy(object, keys + little_endian<uint64_t>(3) + eight), "truncated: storage \"7\"");
  expect(legacy(object, keys + little_endian<uint64_t>(UINT64_MAX) + eight), "truncated");
  expect(legacy(object, keys + little_endian<uint64_t>(1) + eight), "2 elements of 4 are expected");
  expect(legacy(object, keys), "truncated");
  expect(legacy(object, pickled::whole("]")), "\"7\", which a tensor needs, is not there");
  expect(legacy(object, pickled::whole("](" + pickled::text("8") + "e")), "unknown type");
  expect(legacy(object, ""), "ends too early");
  // Two tensors that disagree on what the storage is.
  const std::string both = dict({{"a", tensor(storage("7", 2, "ByteStorage"), 0, {2}, {1})},
                                 {"b", tensor(storage("7", 2, "DoubleStorage"), 0, {2}, {1})}});
  expect(legacy(both, keys + little_endian<uint64_t>(2) + "xy"), "2 elements of 8 are expected");
  expect(pickled::whole("N") + pickled::whole("N"), "none of torch.save");
}

TEST_F(TorchFile, SaysWhatPeopleDownloadInstead) {
  for (const auto& [content, why] :
       {std::pair<std::string, std::string>{"", "is empty"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"},
        {"<!DOCTYPE html><html>", "a web page"},
        {std::string(257, 'x') + "ustar  ", "tar archive"},
        {"hello", "neither a .safetensors file nor"}}) {
    write_bytes(file(), content);
    expect_refused(why);
  }
}

}  // namespace
}  // namespace kessoku::model
