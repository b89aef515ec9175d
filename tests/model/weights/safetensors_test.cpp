#include "model/weights/safetensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "model/weights/safetensors_header.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class Safetensors : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "x.safetensors"; }

  /// A file of `header` (its length before it, unless given) and `data_bytes` zeros.
  void write(const std::string& header, size_t data_bytes,
             std::optional<uint64_t> length = {}) const {
    std::ofstream out(file(), std::ios::binary);
    const uint64_t said = length.value_or(header.size());
    out.write(reinterpret_cast<const char*>(&said), 8);
    out << header << std::string(data_bytes, '\0');
  }
  void expect_refused(const std::string& header, size_t data_bytes, const std::string& why) const {
    write(header, data_bytes);
    EXPECT_THAT([&] { SafetensorsFile{file()}; }, ThrowsMessage<DataError>(HasSubstr(why)))
        << header;
  }

  kessoku::testing::TemporaryFolder folder_;
};

at::Tensor counting(at::ScalarType dtype) { return at::arange(6).reshape({2, 3}).to(dtype); }

const std::vector<at::ScalarType> kAllDtypes{at::kDouble, at::kFloat, at::kHalf,  at::kBFloat16,
                                             at::kLong,   at::kInt,   at::kShort, at::kChar,
                                             at::kByte,   at::kBool};

Parameters one_of_each() {
  Parameters tensors;
  for (const at::ScalarType dtype : kAllDtypes)
    tensors.push_back({c10::toString(dtype), counting(dtype)});
  tensors.push_back({"scalar", at::zeros({}, at::kFloat)});
  tensors.push_back({"empty", at::zeros({0, 4}, at::kHalf)});
  tensors.push_back({"transposed", counting(at::kFloat).t()});
  return tensors;
}

TEST_F(Safetensors, ReadsBackWhatItWrote) {
  write_safetensors(file(), one_of_each(), {{"format", "pt"}});
  const SafetensorsFile read(file());
  EXPECT_EQ(read.names().size(), one_of_each().size());
  EXPECT_EQ(read.metadata().at("format"), "pt");
  for (const auto& [name, tensor] : one_of_each()) {
    EXPECT_EQ(read.tensor(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(read.tensor(name).sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(at::equal(read.tensor(name), tensor)) << name;
  }
}

TEST_F(Safetensors, AlignsEveryTensorToItsElements) {
  write_safetensors(file(), one_of_each());
  const std::string bytes = read_file(file());
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  const SafetensorsFile read(file());
  for (const std::string& name : read.names()) {
    EXPECT_EQ(read.entry(name).begin % c10::elementSize(read.entry(name).dtype), 0u) << name;
  }
}

TEST_F(Safetensors, PythonReadsOursAndWeReadPythons) {
  write_safetensors(file(), one_of_each(), {{"format", "pt"}});
  const std::filesystem::path theirs = folder_.path() / "theirs.safetensors";
  kessoku::testing::run_oracle("weights/safetensors_oracle.py", {file().string(), theirs.string()});
  const SafetensorsFile read(theirs);
  for (const auto& [name, tensor] : one_of_each())
    EXPECT_TRUE(at::equal(read.tensor(name), tensor)) << name;
}

TEST_F(Safetensors, LeavesNothingBesideTheFile) {
  write_safetensors(file(), one_of_each());
  const auto entries = std::filesystem::directory_iterator(folder_.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
}

TEST_F(Safetensors, ReadsTensorsThatAreOffTheirAlignment) {
  write(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )", 8);
  EXPECT_TRUE(at::equal(SafetensorsFile(file()).tensor("x"), at::zeros({2})));
}

TEST_F(Safetensors, TakesHeadersInAnyOrderAndUnknownFields) {
  write(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3],"note":{"a":[1,{}]}},)"
        R"("a":{"shape":[1],"dtype":"U8","data_offsets":[0,1],"more":null}})",
        3);
  EXPECT_THAT(SafetensorsFile(file()).names(), ElementsAre("a", "b"));
}

TEST_F(Safetensors, RefusesTensorsThatDoNotFillTheFile) {
  expect_refused(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "truncated");
  expect_refused(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9,
                 "something follows");
  expect_refused(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "begins at 1");
  expect_refused(R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                 R"("y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                 3, "another one ends at 2");
  expect_refused("{}", 4, "something follows");
}

TEST_F(Safetensors, RefusesSizesThatDoNotFitTheirOffsets) {
  expect_refused(R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "\"x\"");
  expect_refused(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "data_offsets");
  // 2^32 · 2^32 · 4 is 0 modulo 2^64.
  expect_refused(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                 "does not fit");
  expect_refused(R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "wrong kind");
  expect_refused(R"({"x":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "wrong kind");
  expect_refused(R"({"x":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
                 "too large");
}

TEST_F(Safetensors, RefusesMalformedHeaders) {
  const std::string good = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_refused(R"({"x":)" + good + R"(,"x":)" + good + "}", 1, "appears twice");
  expect_refused(R"({"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
                 "twice");
  expect_refused(R"({"x":{"dtype":"U8","shape":[1]}})", 1, "\"data_offsets\" is missing");
  expect_refused(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1, "two numbers");
  expect_refused(R"({"x":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", 1, "F4");
  expect_refused(R"({"x":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1, "wrong kind");
  expect_refused(R"({"x":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1, "holds a list");
  expect_refused(R"({"x":7})", 0, "not a JSON object");
  expect_refused(R"({"__metadata__":{"step":7}})", 0, "wrong kind");
  expect_refused("[]", 0, "not a JSON object");
  expect_refused("{\"x\":", 0, "not valid JSON");
  expect_refused("", 0, "not valid JSON");
  expect_refused(std::string(100'000, '['), 0, "not a JSON object");
  expect_refused("{\"x\":{\"y\":" + std::string(100'000, '['), 0, "not valid JSON");
}

TEST_F(Safetensors, BelievesNoLengthBeyondTheFile) {
  write("{}", 0, 3);
  EXPECT_THROW(SafetensorsFile{file()}, DataError);
  write("{}", 0, std::numeric_limits<uint64_t>::max());
  EXPECT_THROW(SafetensorsFile{file()}, DataError);
  std::ofstream(file()) << "short";
  EXPECT_THROW(SafetensorsFile{file()}, DataError);
  EXPECT_THROW(SafetensorsFile{folder_.path() / "none"}, UsageError);
}

TEST_F(Safetensors, IsNotTakenForAnotherFormatByItsLength) {
  for (const size_t length : {0x80, 0x4B50}) {  // as a pickle begins, and an archive: "PK"
    std::string header = R"({"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
    header.resize(length, ' ');
    write(header, 3);
    EXPECT_THAT(open_weight_file(file()).names(), ElementsAre("x")) << length;
  }
}

TEST_F(Safetensors, NamesTheTensorThatIsNotThere) {
  write_safetensors(file(), Parameters{});
  EXPECT_THAT([&] { SafetensorsFile(file()).tensor("conv_in.weight"); },
              ThrowsMessage<DataError>(HasSubstr("conv_in.weight")));
}

TEST_F(Safetensors, PartsThatWereWrittenApartAreTheWholeFile) {
  write_safetensors(file(), one_of_each(), {{"format", "pt"}});
  const std::string whole = read_file(file());
  TensorOutputs outputs = outputs_of(one_of_each());
  std::vector<std::string> asked;
  for (TensorOutput& output : outputs) {
    output.make = [&asked, name = output.name, make = output.make] {
      asked.push_back(name);
      return make();
    };
  }
  const SafetensorsImage image(outputs, {{"format", "pt"}});
  ASSERT_EQ(image.size(), whole.size());
  for (const uint64_t part : {uint64_t{1}, uint64_t{7}, uint64_t{100}, image.size()}) {
    std::string joined;
    for (uint64_t begin = 0; begin < image.size(); begin += part) {
      const uint64_t end = std::min(begin + part, image.size());
      asked.clear();
      image.write(begin, end, [&](std::span<const std::byte> bytes) {
        joined.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      });
      EXPECT_EQ(joined.size(), end);
      EXPECT_EQ(asked, image.names_in(begin, end)) << "makes what it needs, and no other";
    }
    EXPECT_EQ(joined, whole) << part;
  }
}

TEST_F(Safetensors, WritesNoNameTwice) {
  EXPECT_THROW(write_safetensors(file(), {{"a", at::zeros({1})}, {"a", at::zeros({1})}}), Error);
}

}  // namespace
}  // namespace kessoku::model
