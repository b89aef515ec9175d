#pragma once

namespace kessoku {

/// What the process ends with; scripts and the supervisor rely on these numbers (sysexits.h where
/// it has one).
enum class ExitCode : int {
  kDone = 0,
  kUsage = 64,        ///< wrong command line or run file
  kBadData = 65,      ///< an input file is damaged or does not fit
  kInternal = 70,     ///< our bug
  kCannotWrite = 74,  ///< full disk, no rights, folder gone
  kStopped = 75,      ///< stopped on request, with a checkpoint: start me again
  kWatchdog = 76,     ///< a rank hung, or it or its GPU was lost
  kWrongBits = 77,    ///< a rank holds or computes other bits than it should
};

}  // namespace kessoku
