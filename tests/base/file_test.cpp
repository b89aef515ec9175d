#include "base/file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "tests/temporary_folder.h"

namespace kessoku {
namespace {

namespace fs = std::filesystem;

TEST(FileTest, reads_back_what_was_written_and_leaves_nothing_beside) {
  const tests::TemporaryFolder folder;
  const fs::path file = folder.path() / "名前.json";
  write_file_atomically(file, "first");
  write_file_atomically(file, "second");
  EXPECT_EQ(read_file(file), "second");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(FileTest, keeps_the_old_file_when_it_cannot_write) {
  const tests::TemporaryFolder folder;
  EXPECT_THROW(write_file_atomically(folder.path() / "missing" / "file", "x"), Error);
  fs::create_directory(folder.path() / "taken");
  std::ofstream(folder.path() / "taken" / "inside") << "x";
  EXPECT_ANY_THROW(write_file_atomically(folder.path() / "taken", "x"));
  EXPECT_TRUE(fs::exists(folder.path() / "taken" / "inside"));
}

TEST(FileTest, refuses_what_is_missing_a_folder_or_too_large) {
  const tests::TemporaryFolder folder;
  EXPECT_THROW(read_file(folder.path() / "none"), UsageError);
  EXPECT_THROW(read_file(folder.path()), DataError);
  write_file_atomically(folder.path() / "large", std::string(101, 'x'));
  EXPECT_THROW(read_file(folder.path() / "large", 100), DataError);
}

TEST(MappedFileTest, maps_content_and_survives_a_move) {
  const tests::TemporaryFolder folder;
  write_file_atomically(folder.path() / "file", "mapped");
  MappedFile first(folder.path() / "file");
  const MappedFile second(std::move(first));
  EXPECT_EQ(
      std::string(reinterpret_cast<const char*>(second.bytes().data()), second.bytes().size()),
      "mapped");
}

TEST(MappedFileTest, an_empty_file_has_no_bytes) {
  const tests::TemporaryFolder folder;
  write_file_atomically(folder.path() / "empty", "");
  EXPECT_TRUE(MappedFile(folder.path() / "empty").bytes().empty());
}

}  // namespace
}  // namespace kessoku
