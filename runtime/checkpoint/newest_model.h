#pragma once

#include <filesystem>
#include <optional>

namespace kessoku::runtime {

/// The newest checkpoint of a run whose model is whole: told by the manifests and the sizes of
/// files, without reading them. Its state/ may be gone. Others are passed over with a warning. The
/// link `latest` is not asked, unless it leads to a model of an unknown step and there is no other.
std::optional<std::filesystem::path> newest_model(const std::filesystem::path& run);

/// Whether a path names the newest checkpoint of a run: RUN/checkpoints/latest. The run, if so.
std::optional<std::filesystem::path> run_of_latest(const std::filesystem::path& path);

}  // namespace kessoku::runtime
