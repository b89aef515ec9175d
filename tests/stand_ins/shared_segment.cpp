#include "tests/stand_ins/shared_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace kessoku::stand_ins {

SharedSegment::SharedSegment(const std::string& name, int rank, int ranks)
    : name_("/" + name),
      rank_(rank),
      ranks_(ranks),
      bytes_(sizeof(Header) + static_cast<size_t>(ranks) * kSlot +
             static_cast<size_t>(ranks * ranks) * sizeof(Lane)) {
  // Whoever comes first makes it; fresh pages are zeros, which is what the header begins as.
  const int file = ::shm_open(name_.c_str(), O_RDWR | O_CREAT, 0600);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes_)) != 0)
    throw std::runtime_error("no shared memory");
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
  memory_ = static_cast<char*>(memory);
}

SharedSegment::~SharedSegment() {
  ::munmap(memory_, bytes_);
  ::shm_unlink(name_.c_str());  // if nobody has
}

void SharedSegment::begin() {
  if (begun_) return;
  begun_ = true;
  barrier();
  ::shm_unlink(name_.c_str());
}

void SharedSegment::barrier() {
  const uint32_t round = header()->round;
  if (++header()->arrived == static_cast<uint32_t>(ranks_)) {
    header()->arrived = 0;
    ++header()->round;
    return;
  }
  while (header()->round == round) {
    if (aborted()) throw Aborted();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

}  // namespace kessoku::stand_ins
