#pragma once

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/file.h"
#include "tests/paths.h"
#include "tests/temporary_folder.h"

namespace kessoku::testing {

using tests::TemporaryFolder;

/// The tokenizer folder that scripts/setup.sh makes.
inline std::filesystem::path clip_tokenizer_folder() {
  return std::filesystem::path(tests::source_folder()) / "models/clip-tokenizer";
}

/// Runs tests/model/`script` with `arguments` under the oracle Python; throws if it fails.
inline void run_oracle(const std::string& script, const std::vector<std::string>& arguments) {
  std::string command =
      fmt::format("'{}' '{}/tests/model/{}'", tests::python(), tests::source_folder(), script);
  for (const std::string& argument : arguments) command += fmt::format(" '{}'", argument);
  if (std::system(command.c_str()) != 0) {
    throw std::runtime_error(
        fmt::format("the oracle failed: {} (has scripts/setup.sh been run?)", command));
  }
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_file(path, 1u << 30));
}

/// A tensor that an oracle wrote as {"shape": […], "values": […]}; f32.
inline at::Tensor tensor_of(const nlohmann::json& record) {
  const auto values = record.at("values").get<std::vector<double>>();
  const auto shape = record.at("shape").get<std::vector<int64_t>>();
  at::Tensor tensor = at::empty(shape, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.data_ptr<float>());
  return tensor;
}

/// The largest absolute difference; infinite if the shapes differ.
inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  return a.sub(b).abs().max().item<double>();
}

}  // namespace kessoku::testing
