#pragma once

#include "data/dataset/dataset_builder.h"
#include "data/dataset/folder_lister.h"

namespace kessoku::data {

/// Once a folder's images are read: lists its broken images among the skipped, and warns of what is
/// there and not used (captions without an image or named almost as one, formats that are not read,
/// archives), and of images that the dialect's own trainer would not read. `sidecars` know what was
/// used.
void report_odd_files(DatasetBuilder& builder, const Folder& folder, const Sidecars& sidecars);

}  // namespace kessoku::data
