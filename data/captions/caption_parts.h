#pragma once

#include <string>
#include <vector>

namespace kessoku::data {

/// The main prompt of a caption (its first part, which stays where it is) or one of its tags.
struct CaptionPart {
  std::string text;
  double weight = 1;  ///< of a tag: how likely it comes early when tags are shuffled; ≥ 0
  bool operator==(const CaptionPart&) const = default;
};

/// The parts one after another, with ", " between.
std::string join_parts(const std::vector<CaptionPart>& parts);

/// The first `count` + 1 parts as one: tags that stay behind the main prompt.
std::vector<CaptionPart> join_first(std::vector<CaptionPart> parts, size_t count);

/// What Example::caption_parts and the store keep: a JSON list of texts and [text, weight], or
/// nothing if splitting the joined caption at ", " gives the same parts of weight 1.
std::string encode_parts(const std::vector<CaptionPart>& parts);

/// The parts of `caption`, whose encoding (often empty) is `encoded`. At least one. Throws
/// DataError if `encoded` is damaged.
std::vector<CaptionPart> caption_parts(const std::string& caption, const std::string& encoded);

}  // namespace kessoku::data
