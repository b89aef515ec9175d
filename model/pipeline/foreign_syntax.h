#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kessoku::model {

/// A prompt as it is drawn here, and what of it was written for other programs.
struct NativePrompt {
  std::string text;
  std::vector<std::string> notes;  ///< what was found, and what was done instead; most often empty
};

/// Takes out what A1111's web UI reads as commands, which would else be drawn as words:
///
///     <lora:NAME:0.8>, <lyco:…>, <hypernet:…>     left out
///     [from:to:0.5], [to:0.5], [from::0.5]        what holds in the end
///     [one|other]                                 the first
///     a AND b:1.2                                 "a, b": one prompt instead of two that are mixed
NativePrompt without_foreign_syntax(std::string_view prompt);

}  // namespace kessoku::model
