#include "base/file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/output_file.h"
#include "tests/temporary_folder.h"

namespace kessoku {
namespace {

namespace fs = std::filesystem;

TEST(File, ReadsBackWhatWasWrittenAndLeavesNothingBeside) {
  const tests::TemporaryFolder folder;
  const fs::path file = folder.path() / "名前.json";
  write_file_atomically(file, "first");
  write_file_atomically(file, "second");
  EXPECT_EQ(read_file(file), "second");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(File, KeepsTheOldFileWhenItCannotWrite) {
  const tests::TemporaryFolder folder;
  try {
    write_file_atomically(folder.path() / "missing" / "file", "x");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              fmt::format("{0}/missing/file: cannot create: there is no folder "
                          "{0}/missing",
                          folder.path().string()));
  }
  fs::create_directory(folder.path() / "taken");
  std::ofstream(folder.path() / "taken" / "inside") << "x";
  EXPECT_ANY_THROW(write_file_atomically(folder.path() / "taken", "x"));
  EXPECT_TRUE(fs::exists(folder.path() / "taken" / "inside"));
}

TEST(File, RefusesWhatIsMissingAFolderOrTooLarge) {
  const tests::TemporaryFolder folder;
  EXPECT_THROW(read_file(folder.path() / "none"), UsageError);
  EXPECT_THROW(read_file(folder.path()), DataError);
  write_file_atomically(folder.path() / "large", std::string(101, 'x'));
  EXPECT_THROW(read_file(folder.path() / "large", 100), DataError);
}

TEST(OutputFile, SeveralWriteTheirPartsOfAFileInAnyOrder) {
  const tests::TemporaryFolder folder;
  const fs::path file = folder.path() / "parts";
  const std::string content(40 << 20, 'a');
  const auto bytes = std::as_bytes(std::span(content));
  const size_t half = size_t{20} << 20;
  for (const size_t begin : {half, size_t{0}}) {
    OutputFile part(file, begin);
    part.write(bytes.subspan(begin, 100));
    part.write(bytes.subspan(begin + 100, half - 100));
    part.finish();
    EXPECT_EQ(part.bytes_written(), half);
    EXPECT_EQ(part.checksum(), checksum(bytes.subspan(begin, half)));
  }
  EXPECT_EQ(read_file(file), content);
}

TEST(OutputFile, NamesTheFileWhenTheDiskIsFull) {
  OutputFile full("/dev/full");
  const std::byte one{};
  try {
    full.write({&one, 1});
    FAIL() << "it was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kCannotWrite);
    EXPECT_EQ(std::string(error.what()), "/dev/full: cannot write: No space left on device");
  }
}

TEST(MappedFile, MapsContentAndSurvivesAMove) {
  const tests::TemporaryFolder folder;
  write_file_atomically(folder.path() / "file", "mapped");
  MappedFile first(folder.path() / "file");
  const MappedFile second(std::move(first));
  EXPECT_EQ(
      std::string(reinterpret_cast<const char*>(second.bytes().data()), second.bytes().size()),
      "mapped");
}

TEST(MappedFile, AnEmptyFileHasNoBytes) {
  const tests::TemporaryFolder folder;
  write_file_atomically(folder.path() / "empty", "");
  EXPECT_TRUE(MappedFile(folder.path() / "empty").bytes().empty());
}

/// Pages of mapped files that are in this process's memory, in bytes.
size_t resident_file_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoull(line.substr(8)) * 1024;
  }
  return 0;
}

TEST(MappedFile, GivesBackTheMemoryOfWhatWasRead) {
  constexpr size_t kBytes = 32 << 20;
  const tests::TemporaryFolder folder;
  write_file_atomically(folder.path() / "large", std::string(kBytes, 'x'));
  const MappedFile file(folder.path() / "large");
  const size_t before = resident_file_bytes();
  for (int reading = 0; reading < 2; ++reading) {
    EXPECT_EQ(std::ranges::count(file.bytes(), std::byte{'x'}), static_cast<ptrdiff_t>(kBytes));
    EXPECT_GE(resident_file_bytes(), before + kBytes / 2);
    file.release(file.bytes().subspan(1000));
    EXPECT_LE(resident_file_bytes(), before + kBytes / 8);
  }
  file.release({});
  file.release(file.bytes().subspan(kBytes));
}

}  // namespace
}  // namespace kessoku
