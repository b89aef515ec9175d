// The tree of the design's reference run: 27,173 images in weighted sub-folders, as
// anime_screenshot_pipeline lays them out.
#pragma once

#include "tests/data/dataset/test_tree.h"

namespace kessoku::data {

inline const std::vector<std::string>& reference_characters() {
  static const std::vector<std::string> names{"gotoh_hitori", "ijichi_nijika", "ijichi_seika",
                                              "kita_ikuyo",   "hiroi_kikuri",  "pa-san",
                                              "yamada_ryou",  "gotoh_futari",  "gotoh_michiyo",
                                              "gotoh_naoki",  "shimizu_eliza", "iwashita_shima"};
  return names;
}

/// [mixture] of the run, with weights of sub-folders on two levels.
inline MixtureRules reference_rules() {
  return {{"screenshots", 0.30},
          {"fanart", 0.25},
          {"regularization", 0.45},
          {"screenshots/1_character", 3.0},
          {"screenshots/2_characters", 1.5},
          {"screenshots/*/kita_ikuyo", 2.0},
          {"fanart/solo/*", 1.0},
          {"regularization/**/*hair", 0.7}};
}

namespace reference_tree {

/// Splits `total` images over `parts` sizes that fall as 1, 1/2, 1/3 …, each at least 1.
inline std::vector<size_t> harmonic(size_t total, size_t parts) {
  double sum = 0;
  for (size_t i = 1; i <= parts; ++i) sum += 1.0 / static_cast<double>(i);
  std::vector<size_t> sizes;
  size_t left = total;
  for (size_t i = 1; i <= parts; ++i) {
    const auto share =
        static_cast<size_t>(static_cast<double>(total) / sum / static_cast<double>(i));
    sizes.push_back(std::max<size_t>(1, share));
    left -= sizes.back();
  }
  sizes[0] += left;
  return sizes;
}

}  // namespace reference_tree

/// All folders, parents before their children, 27,173 images in all.
inline std::vector<TestFolder> reference_folders() {
  using reference_tree::harmonic;
  std::vector<TestFolder> folders{{"fanart", 0}, {"fanart/solo", 0}};
  const auto& characters = reference_characters();
  const auto add = [&](const std::string& path, size_t total,
                       const std::vector<std::string>& names) {
    const std::vector<size_t> sizes = harmonic(total, names.size());
    for (size_t i = 0; i < names.size(); ++i) folders.push_back({path + "/" + names[i], sizes[i]});
  };
  add("fanart/solo", 1330, characters);
  folders.push_back({"fanart/group", 300});
  folders.push_back({"regularization", 0});
  folders.push_back({"regularization/style", 9000});
  folders.push_back({"regularization/concepts", 19});  // images beside sub-folders
  add("regularization/concepts", 9500,
      {"long_hair", "short_hair", "guitar", "drums", "stage", "street", "room"});
  folders.push_back({"screenshots", 0});
  folders.push_back({"screenshots/1_character", 0});
  add("screenshots/1_character", 5000, characters);
  folders.push_back({"screenshots/2_characters", 0});
  add("screenshots/2_characters", 1500,
      {"gotoh_hitori+kita_ikuyo", "ijichi_nijika+yamada_ryou", "gotoh_hitori+ijichi_nijika",
       "character_others"});
  folders.push_back({"screenshots/3+_characters", 524});
  return folders;
}

}  // namespace kessoku::data
