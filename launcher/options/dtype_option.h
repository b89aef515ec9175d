#pragma once

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

/// Adds --dtype, one of `names` (fp32, bf16, fp16); f32 and f16 mean the same.
inline CLI::Option* add_dtype_option(CLI::App& command, std::string& dtype,
                                     const std::vector<std::string>& names,
                                     const std::string& help) {
  return command.add_option("--dtype", dtype, help)
      ->check(CLI::IsMember(names))
      ->transform([](const std::string& name) {
        return name == "f32" ? "fp32" : name == "f16" ? "fp16" : name;
      });
}

}  // namespace kessoku::launcher
