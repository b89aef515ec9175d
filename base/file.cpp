#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/folder.h"
#include "base/system_error.h"

namespace kessoku {

namespace {

/// A file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags, mode_t mode = 0)
      : value_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }
  bool valid() const { return value_ >= 0; }

 private:
  int value_;
};

Descriptor open_for_reading(const std::filesystem::path& path, size_t& size) {
  Descriptor file(path, O_RDONLY);
  if (!file.valid()) throw_cannot_open(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_system("look at it", path);
  if (!S_ISREG(status.st_mode))
    throw DataError(fmt::format("{}: not a regular file", path.string()));
  size = static_cast<size_t>(status.st_size);
  return file;
}

}  // namespace

std::string read_file(const std::filesystem::path& path, uint64_t max_bytes) {
  size_t size = 0;
  const Descriptor file = open_for_reading(path, size);
  if (size > max_bytes) {
    throw DataError(fmt::format("{}: {} bytes, more than the {} that such a file may have",
                                path.string(), size, max_bytes));
  }
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_system("read", path);
    if (got == 0)
      throw DataError(fmt::format("{}: became shorter while it was read", path.string()));
    done += static_cast<size_t>(got);
  }
  return content;
}

void fsync_path(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY);
  if (!file.valid() || !flush_to_disk(file.get())) throw_system("flush to disk", path);
}

namespace {

/// Writes a temporary file beside `path`, flushed to disk, and returns its name.
std::filesystem::path write_beside(const std::filesystem::path& path, std::string_view content) {
  std::filesystem::path beside = in_a_folder(path).string() + fmt::format(".tmp{}", ::getpid());
  const Descriptor file(beside, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (!file.valid()) throw_system("create", beside);
  if (write_all(file.get(), content) < content.size()) throw_system("write", beside);
  if (!flush_to_disk(file.get())) throw_system("flush to disk", beside);
  return beside;
}

void fsync_folder_of(const std::filesystem::path& path) {
  fsync_path(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  std::filesystem::rename(write_beside(path, content), path);
  fsync_folder_of(path);
}

bool write_new_file(const std::filesystem::path& path, std::string_view content) {
  if (std::filesystem::exists(std::filesystem::symlink_status(path))) return false;
  const std::filesystem::path beside = write_beside(path, content);
  // A link, unlike a rename, fails if somebody was faster.
  const int failure = ::link(beside.c_str(), path.c_str()) == 0 ? 0 : errno;
  if (failure == 0 || failure == EEXIST) {
    std::filesystem::remove(beside);
  } else {  // a file system without hard links
    std::filesystem::rename(beside, path);
  }
  fsync_folder_of(path);
  return failure != EEXIST;
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file = open_for_reading(path, size_);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) throw_system("map", path);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(other.data_), size_(other.size_) {
  other.data_ = nullptr;
  other.size_ = 0;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (part.empty()) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = static_cast<size_t>(part.data() - data_) / page * page;
  const size_t end = static_cast<size_t>(part.data() + part.size() - data_);
  // Only a hint: if the system does not take it, nothing is lost but memory.
  ::madvise(const_cast<std::byte*>(data_ + begin), end - begin, MADV_DONTNEED);
}

}  // namespace kessoku
