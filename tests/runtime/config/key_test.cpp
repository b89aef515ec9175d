#include "runtime/config/key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "runtime/config/config_writer.h"
#include "runtime/config/key_documents.h"

namespace kessoku::runtime {
namespace {

TEST(RunFileKeys, AreDeclaredOnceEachWithAMeaning) {
  std::set<std::string> names;
  for (const Key& key : all_keys()) {
    EXPECT_TRUE(names.insert(key.full_name()).second) << key.full_name();
    EXPECT_FALSE(key.meaning.empty()) << key.full_name();
    EXPECT_FALSE(key.allowed().empty()) << key.full_name();
  }
}

TEST(RunFileKeys, NameEachFieldOnce) {
  RunConfig config;
  std::set<const void*> fields;
  for (const Key& key : all_keys()) {
    const void* field =
        std::visit([](auto* value) -> const void* { return value; }, key.field(config));
    EXPECT_TRUE(fields.insert(field).second) << key.full_name();
  }
}

TEST(RunFileKeys, TakeTheirDefaults) {
  RunConfig config;
  for (const Key& key : all_keys()) {
    EXPECT_EQ(key.takes(key.field(config)), !key.required) << key.full_name();
    EXPECT_TRUE(key.is_default(config)) << key.full_name();
  }
}

TEST(RunFileKeys, SayWhatMayBeWritten) {
  EXPECT_EQ(find_key("seed")->allowed(), "a whole number of at least 0");
  EXPECT_EQ(find_key("optimizer.eps")->allowed(), "a number above 0");
  EXPECT_EQ(find_key("ema.decay")->allowed(), "a number of at least 0 and below 1");
  EXPECT_EQ(find_key("metrics.port")->allowed(), "a whole number from 0 to 65535, or -1");
  EXPECT_EQ(find_key("train.precision")->allowed(), R"("auto", "fp32", "bf16", "fp16" or "tf32")");
  EXPECT_EQ(find_key("data.max_token_length")->allowed(), "75, 150 or 225");
  EXPECT_EQ(find_key("sample.size")->allowed(), "[width, height], whole numbers from 1 to 32768");
  EXPECT_EQ(find_key("optimizer.lr_scale")->allowed(),
            R"(pairs, [["name", 0.5], …], each number of at least 0)");
}

TEST(RunFileKeys, AreFoundByName) {
  EXPECT_EQ(find_key("mixture.a/*")->full_name(), "mixture");
  EXPECT_EQ(find_key("mixture.pass_draws")->name, "pass_draws");
  EXPECT_EQ(find_key("train.nothing"), nullptr);
  EXPECT_EQ(find_key("mixture"), nullptr);
}

TEST(RunFileKeys, KnowWhatCannotChangeOnResume) {
  RunConfig config;
  EXPECT_TRUE(find_key("train.global_batch")->is_fixed(config));
  EXPECT_TRUE(find_key("train.clip_skip")->is_fixed(config));
  config.train.target = {"unet"};
  EXPECT_FALSE(find_key("train.clip_skip")->is_fixed(config));
  EXPECT_EQ(find_key("optimizer.lr")->on_resume, OnResume::kRecorded);
}

TEST(RunFileKeys, ArePutIntoASchemaWithTheirRanges) {
  const nlohmann::json sections = json_schema().at("properties");
  const nlohmann::json& train = sections.at("train").at("properties");
  EXPECT_EQ(train.at("steps").at("minimum"), 1);
  EXPECT_EQ(train.at("precision").at("enum"),
            (nlohmann::json{"auto", "fp32", "bf16", "fp16", "tf32"}));
  EXPECT_EQ(sections.at("ema").at("properties").at("decay").at("exclusiveMaximum"), 1);
  EXPECT_EQ(sections.at("train").at("additionalProperties"), false);
  EXPECT_EQ(sections.at("mixture").at("additionalProperties").at("minimum"), 0);
  EXPECT_EQ(sections.at("seed").at("default"), 555);
}

}  // namespace
}  // namespace kessoku::runtime
