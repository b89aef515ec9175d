#include "metrics/step_record.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace kessoku::metrics {
namespace {

StepRecord example() {
  StepRecord record;
  record.step = 7;
  record.draws = 28;
  record.loss = 0.125;
  record.grad_norm = 1.5;
  record.lr = 1e-6;
  record.samples_per_second = 12.5;
  record.seconds = 0.32;
  record.phase_seconds = {0.01, 0.1, 0.15, 0.02, 0.03, 0.005, 0.005, 0.004, 0.003};
  record.category_draws = {{"fanart", 1}, {"screenshots", 3}};
  record.category_losses = {{"fanart", 0.25}, {"screenshots", 0.125}};
  record.timestep_losses[2] = 0.5;
  return record;
}

TEST(StepRecord, HasTheKeysOfTheRunLog) {
  const auto json = nlohmann::json::parse(to_json(example()));
  const auto expected = nlohmann::json::parse(R"({
    "step": 7, "draws": 28, "loss": 0.125, "grad_norm": 1.5, "lr": 1e-6, "samples_per_second": 12.5, "seconds": 0.32,
    "phases": {"data": 0.01, "forward": 0.1, "backward": 0.15, "communication": 0.02, "optimizer": 0.03,
               "checkpoint": 0.005, "sample": 0.005, "validation": 0.004, "verification": 0.003},
    "categories": {"fanart": 1, "screenshots": 3},
    "category_losses": {"fanart": 0.25, "screenshots": 0.125}, "timestep_losses": [null, null, 0.5, null]})");
  EXPECT_EQ(json, expected);
}

TEST(StepRecord, ComesBackBitForBit) {
  StepRecord record = example();
  record.loss = 0.1 + 0.2;
  const StepRecord back = step_record_from_json(to_json(record));
  EXPECT_EQ(back.step, record.step);
  EXPECT_EQ(back.draws, record.draws);
  EXPECT_EQ(back.loss, record.loss);
  EXPECT_EQ(back.phase_seconds, record.phase_seconds);
  EXPECT_EQ(back.category_draws, record.category_draws);
  EXPECT_EQ(back.category_losses, record.category_losses);
  EXPECT_EQ(back.timestep_losses[2], 0.5);
  EXPECT_TRUE(std::isnan(back.timestep_losses[0]));
}

TEST(StepRecord, TellsTheValidationLossOnlyWhereItWasMeasured) {
  StepRecord record = example();
  EXPECT_EQ(step_record_from_json(to_json(record)).validation_loss, std::nullopt);
  record.validation_loss = 0.25;
  EXPECT_EQ(nlohmann::json::parse(to_json(record))["validation_loss"], 0.25);
  EXPECT_EQ(step_record_from_json(to_json(record)).validation_loss, 0.25);
}

TEST(StepRecord, TellsItsArithmeticWhereItIsKnown) {
  StepRecord record = example();
  EXPECT_FALSE(nlohmann::json::parse(to_json(record)).contains("flops"));
  record.flops = 1.5e12;
  EXPECT_EQ(step_record_from_json(to_json(record)).flops, 1.5e12);
}

TEST(StepRecord, TellsWhetherItWasVerified) {
  StepRecord record = example();
  EXPECT_FALSE(step_record_from_json(to_json(record)).verified);
  record.verified = true;
  EXPECT_EQ(nlohmann::json::parse(to_json(record))["verified"], true);
  EXPECT_TRUE(step_record_from_json(to_json(record)).verified);
}

TEST(StepRecord, TellsOfScalingAndRanksWhereThereIsSomethingToTell) {
  StepRecord record = example();
  record.skipped = true;
  record.loss_scale = 32768;
  record.time = 1e9;
  record.rank_seconds = {0.25, 0.5};
  const StepRecord back = step_record_from_json(to_json(record));
  EXPECT_TRUE(back.skipped);
  EXPECT_EQ(back.loss_scale, 32768);
  EXPECT_EQ(back.time, 1e9);
  EXPECT_EQ(back.rank_seconds, record.rank_seconds);
}

TEST(StepRecord, NumbersThatAreNotFiniteAreNullInJson) {
  StepRecord record = example();
  record.loss = std::numeric_limits<double>::quiet_NaN();
  record.grad_norm = std::numeric_limits<double>::infinity();
  const std::string line = to_json(record);
  EXPECT_TRUE(nlohmann::json::parse(line)["loss"].is_null());
  EXPECT_TRUE(std::isnan(step_record_from_json(line).loss));
  EXPECT_TRUE(std::isnan(step_record_from_json(line).grad_norm));
}

TEST(StepRecord, AFolderNameThatIsNoUtf8StillMakesJson) {
  StepRecord record = example();
  record.category_draws = {{"caf\xe9", 2}};
  EXPECT_TRUE(nlohmann::json::accept(to_json(record)));
}

TEST(StepRecord, WrongTypesAreRefused) {
  for (const char* line :
       {"", "[]", "7", "{", "{}", R"({"step":-1,"draws":0})", R"({"step":1,"draws":1.5})",
        R"({"step":1,"draws":1,"loss":"low"})", R"({"step":1,"draws":1,"phases":3})",
        R"({"step":1,"draws":1,"categories":{"a":"b"}})",
        R"({"step":1,"draws":1,"category_losses":[1]})",
        R"({"step":1,"draws":1,"timestep_losses":[1]})",
        R"({"step":1,"draws":1,"rank_seconds":["a"]})"}) {
    EXPECT_THROW(step_record_from_json(line), DataError) << line;
  }
}

}  // namespace
}  // namespace kessoku::metrics
