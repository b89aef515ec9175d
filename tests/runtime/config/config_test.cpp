#include "runtime/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "runtime/training/lr_schedule.h"
#include "runtime/training/update_rule.h"
#include "tests/temporary_folder.h"

namespace kessoku::runtime {
namespace {

using testing::HasSubstr;

class RunFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) const {
    const std::filesystem::path file = folder_.path() / "run.toml";
    std::ofstream(file) << text;
    return file;
  }
  RunConfig load(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    return load_config(write("[model]\npath = 'm'\n[data]\nstore = 's'\n" + text), overrides);
  }
  std::string error_of(const std::string& text,
                       const std::vector<std::string>& overrides = {}) const {
    try {
      load(text, overrides);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }
  tests::TemporaryFolder folder_;
};

TEST_F(RunFile, LeavesWhatIsNotSaidAtItsDefault) {
  const RunConfig config = load("");
  EXPECT_EQ(config.seed, 555u);
  EXPECT_EQ(config.optimizer.betas, (std::vector<double>{0.9, 0.999}));
}

TEST_F(RunFile, NamesLineAndNearestKeyOfAMisspelledKey) {
  const std::string error = error_of("[train]\nglobal_bach = 4\n");
  EXPECT_THAT(error, HasSubstr("line 6"));
  EXPECT_THAT(error, HasSubstr("did you mean train.global_batch?"));
}

TEST_F(RunFile, NamesTheSectionWhereAMisplacedKeyBelongs) {
  EXPECT_THAT(error_of("[train]\nweight_decay = 0.1\n"),
              HasSubstr("did you mean optimizer.weight_decay?"));
}

TEST_F(RunFile, RefusesAnUnknownSection) {
  EXPECT_THAT(error_of("[optimiser]\nlr = 1.0\n"), HasSubstr("did you mean optimizer?"));
}

TEST_F(RunFile, RefusesAWrongTypeWithItsLine) {
  EXPECT_THAT(error_of("[train]\nsteps = 'many'\n"),
              HasSubstr("line 6: train.steps must be a whole number"));
  EXPECT_THAT(error_of("[train]\nsteps = -1\n"), HasSubstr("must not be negative"));
  EXPECT_THAT(error_of("[data]\n"), HasSubstr("line 5"));  // a section twice
}

TEST_F(RunFile, KeepsTheOrderOfMixtureRules) {
  const RunConfig config = load("[mixture]\n'z' = 1\n'a/*' = 2.5\n'a' = 3\n", {"mixture.b=4"});
  const data::MixtureRules expected{{"z", 1}, {"a/*", 2.5}, {"a", 3}, {"b", 4}};
  EXPECT_EQ(config.mixture.rules, expected);
}

TEST_F(RunFile, OverridesBySet) {
  const RunConfig config =
      load("[optimizer]\nlr = 1e-6\n", {"optimizer.lr=0.5", "name=other", "train.target=['vae']"});
  EXPECT_EQ(config.optimizer.lr, 0.5);
  EXPECT_EQ(config.name, "other");
  EXPECT_TRUE(config.trains("vae"));
  EXPECT_THAT(error_of("", {"train.stepz=3"}), HasSubstr("--set: train.stepz is not a key"));
}

TEST_F(RunFile, ReadsBackWhatItWrites) {
  const RunConfig config = load(
      "[mixture]\npass_draws = 7\n\"a \\\"b\\\"/*\" = 0.1\n[sample]\nprompts = ['x, \"y\"', "
      "'é']\nsize = [64, 48]\n",
      {"data.caption_rename=[['Bfan2', 'Bofa2']]", "optimizer.lr=1e-6"});
  const std::string text = to_toml(config);
  EXPECT_EQ(to_toml(load_config(write(text))), text);
  EXPECT_THAT(text, HasSubstr("lr = 1e-06"));
}

TEST_F(RunFile, TakesTheOptimizersAndSchedulesThatThereAre) {
  for (const std::string& name : update_rule_names())
    EXPECT_EQ(load("", {"optimizer.name=" + name}).optimizer.name, name);
  for (const std::string& name : lr_schedule_names())
    EXPECT_EQ(load("", {"optimizer.schedule=" + name}).optimizer.schedule, name);
  EXPECT_THAT(error_of("", {"optimizer.name=sgd"}), HasSubstr("adamw, lion"));
}

TEST_F(RunFile, RefusesARunFileThatIsNotThereOrNotToml) {
  EXPECT_THROW(load_config(folder_.path() / "none.toml"), UsageError);
  EXPECT_THAT(error_of("[train\n"), HasSubstr("line 5"));
}

}  // namespace
}  // namespace kessoku::runtime
