#include "runtime/training/partition.h"

#include <gtest/gtest.h>

#include <vector>

namespace kessoku::runtime {
namespace {

TEST(Partition, EveryElementHasOneOwnerAndEveryPartIsAligned) {
  for (int parts : {1, 2, 3, 7}) {
    for (int64_t numel : {1, 1024, 100'000, 409'601}) {
      for (int64_t bucket_numel : {1, 5000, 50'000, 1'000'000}) {
        const Partition partition(numel, bucket_numel, parts);
        ASSERT_GE(partition.numel(), numel);
        std::vector<int> owners(static_cast<size_t>(partition.numel()));
        const int64_t each = total_size(partition.owned_by(0));
        for (int owner = 0; owner < parts; ++owner) {
          EXPECT_EQ(total_size(partition.owned_by(owner)), each);
          for (const Range& range : partition.owned_by(owner)) {
            EXPECT_EQ(range.begin % Partition::kAlignment, 0);
            EXPECT_EQ(range.end % Partition::kAlignment, 0);
            for (int64_t i = range.begin; i < range.end; ++i) ++owners[static_cast<size_t>(i)];
          }
        }
        EXPECT_EQ(owners, std::vector<int>(owners.size(), 1));
      }
    }
  }
}

TEST(Partition, EverybodyOwnsTheBucketsThemselves) {
  const Partition partition(100'000, 10'000, 4);
  const std::vector<Range> all = partition.owned_by(Partition::kEverybody);
  ASSERT_EQ(all.size(), partition.buckets());
  EXPECT_EQ(total_size(all), partition.numel());
  EXPECT_EQ(all[1].begin, all[0].end);
}

}  // namespace
}  // namespace kessoku::runtime
