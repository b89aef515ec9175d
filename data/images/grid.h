#pragma once

#include "data/images/image.h"

namespace kessoku::data {

/// Puts images side by side, `columns` a row, each in the middle of a cell as large as the largest
/// image, with thin white borders. `labels`, if there are any, stand below the images, one each:
/// UTF-8, as much of it as three lines hold.
Image make_grid(const std::vector<Image>& images, size_t columns,
                const std::vector<std::string>& labels = {});

}  // namespace kessoku::data
