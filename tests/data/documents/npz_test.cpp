#include "data/documents/npz.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "data/dataset/kohya_latents.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Npz : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "x.npz"; }
  void save(const std::string& arguments) {
    run_python_line(
        fmt::format("import numpy as np; np.savez('{}', {})", file().string(), arguments));
  }
  void expect_refused(const std::string& says) const {
    try {
      NpzFile(file()).read("a");
      ADD_FAILURE() << "not refused: " << says;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("x.npz: "), HasSubstr(says)));
    }
  }
  tests::TemporaryFolder folder_;
};

TEST_F(Npz, ReadsNumbersOfAllTypes) {
  save(
      "b=np.float32(3), **{t: np.arange(6).reshape(2, 3).astype(t) for t in 'f2 f4 f8 i1 i2 i4 i8 "
      "u1 u2 "
      "u4 u8'.split()}");
  const NpzFile npz(file());
  for (const char* type : {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}) {
    EXPECT_THAT(npz.shape(type), ElementsAre(2, 3));
    EXPECT_TRUE(at::equal(npz.read(type), at::arange(6, at::kFloat).view({2, 3}))) << type;
  }
  EXPECT_EQ(npz.read("b").item<float>(), 3);
  EXPECT_FALSE(npz.holds("a"));
  expect_refused("array 'a' is not there");
}

TEST_F(Npz, RefusesWhatIsNotPlainNumbers) {
  for (const auto& [array, says] : std::vector<std::pair<std::string, std::string>>{
           {"np.array([{}], dtype=object)", "holds '|O'"},
           {"np.array(['x'])", "holds '<U1'"},
           {"np.zeros(2, '>f4')", "holds '>f4'"},
           {"np.zeros(2, 'c8')", "holds '<c8'"},
           {"np.zeros(2, 'f4,f4')", "damaged header"},
           {"np.zeros((2, 3), order='F')", "Fortran"}}) {
    save("a=" + array);
    expect_refused(says);
  }
}

TEST_F(Npz, FindsDamage) {
  save("a=np.zeros((4, 8, 8), np.float32)");
  std::string bytes = read_file(file());
  bytes[300] ^= 1;
  write_text(file(), bytes);
  expect_refused("checksum");
  save("a=np.zeros((4, 8, 8), np.float32)");
  bytes = read_file(file());
  const size_t shape = bytes.find("(4, 8, 8)");
  bytes.replace(shape, 9, "(4, 8, 9)");
  write_text(file(), bytes);
  expect_refused("truncated");
  bytes.replace(shape, 9, "(9999999)");
  write_text(file(), bytes);
  expect_refused("truncated");
}

TEST_F(Npz, LatentsAreTheArrayThatKohyaNames) {
  save("latents=np.arange(4 * 6 * 5, dtype='f4').reshape(4, 6, 5), original_size=[40, 48]");
  EXPECT_TRUE(at::equal(read_kohya_latents(file()), at::arange(120, at::kFloat).view({4, 6, 5})));
  save("latents=np.full((4, 6, 5), np.nan, 'f4')");
  EXPECT_THROW(read_kohya_latents(file()), DataError);
  save("latents=np.full((4, 6, 5), 1e9, 'f4')");
  EXPECT_THROW(read_kohya_latents(file()), DataError);
  save("latents=np.zeros((4, 600, 5), 'f4')");
  EXPECT_THROW(read_kohya_latents(file()), DataError);
  save("latents_8x8=np.zeros((4, 6, 5), 'f4')");
  EXPECT_THROW(read_kohya_latents(file()), DataError);
}

}  // namespace
}  // namespace kessoku::data
