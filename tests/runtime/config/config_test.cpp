#include "runtime/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "runtime/config/config_writer.h"
#include "runtime/config/key.h"
#include "runtime/training/lr_schedule.h"
#include "runtime/training/update_rule.h"
#include "tests/temporary_folder.h"

namespace kessoku::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using testing::UnorderedElementsAreArray;

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
  /// Of a file without the keys that `load` adds.
  std::string error_in(const std::string& text) const {
    try {
      load_config(write(text));
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
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
  EXPECT_THAT(error_of("[optimiser]\nlr = 1.0\n"), HasSubstr("did you mean [optimizer]?"));
}

TEST_F(RunFile, RefusesAWrongTypeWithItsLine) {
  EXPECT_THAT(error_of("[train]\nsteps = 'many'\n"),
              HasSubstr("line 6: train.steps = 'many': must be a whole number from 1 to "));
  EXPECT_THAT(error_of("[train]\nsteps = 1.5\n"), HasSubstr("train.steps = 1.5: must be a whole"));
  EXPECT_THAT(error_of("[data]\nshuffle_tags = 1\n"), HasSubstr("line 5"));
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
  EXPECT_THAT(error_of("", {"train.stepz=3"}),
              HasSubstr("--set train.stepz=3: train.stepz is not a key"));
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

TEST_F(RunFile, SaysWhichKeysAreNotAtTheirDefaults) {
  const RunConfig config =
      load("[mixture]\n\"a/*\" = 0.5\n", {"optimizer.lr=1e-5", "train.threads=0", "name=x"});
  EXPECT_EQ(changed_keys(config),
            "name = 'x'\nmodel.path = 'm'\ndata.store = 's'\nmixture.'a/*' = 0.5\n"
            "optimizer.lr = 1e-05\n");
}

TEST_F(RunFile, TakesTheOptimizersAndSchedulesThatThereAre) {
  EXPECT_THAT(find_key("optimizer.name")->choices, UnorderedElementsAreArray(update_rule_names()));
  EXPECT_THAT(find_key("optimizer.schedule")->choices,
              UnorderedElementsAreArray(lr_schedule_names()));
  EXPECT_THAT(error_of("", {"optimizer.name=nothing"}), HasSubstr("must be \"adamw\""));
}

TEST_F(RunFile, TakesAnyTextForAKeyOfText) {
  for (const char* text : {"2024-05-01", "100", "true", "1.5", "[a]", "a b", "x = 1", "été"})
    EXPECT_EQ(load("", {fmt::format("name={}", text)}).name, text);
  EXPECT_EQ(load("", {"name=\"quoted\""}).name, "quoted");
  EXPECT_EQ(load("[sample]\nnegative = 'x'\n", {"sample.negative="}).sample.negative, "");
}

TEST_F(RunFile, BlamesAnOverrideAndNotTheFile) {
  EXPECT_THAT(error_of("[train]\nsteps = 4\n", {"train.steps=0"}),
              StartsWith("--set train.steps=0: train.steps = 0: must be a whole number from 1"));
  EXPECT_THAT(error_of("", {"train.inpainting=true", "train.target=['vae']"}),
              StartsWith("--set train.inpainting=true: train.inpainting = true: must be false"));
  EXPECT_THAT(error_of("[optimizer]\nschedule = 'polynomial'\n", {"optimizer.end_lr=1.0"}),
              StartsWith("--set optimizer.end_lr=1.0: optimizer.end_lr = 1.0: must be below"));
}

TEST_F(RunFile, NamesWhatAKeyOfAnotherTrainerIsCalledHere) {
  const std::pair<const char*, const char*> cases[] = {
      {"train.batch_size", "did you mean train.global_batch?"},
      {"optimizer.learning_rate", "did you mean optimizer.lr?"},
      {"train.lr", "did you mean optimizer.lr?"},
      {"train.seed", "did you mean seed?"},
      {"train.resolution", "an option of `kessoku prepare`: --resolution"},
      {"data.keep_tokens", "did you mean data.keep_tags? (one less"},
      {"train.max_train_steps", "did you mean train.steps?"},
      {"train.lr_scheduler", "did you mean optimizer.schedule?"},
      {"train.gradient_accumulation_steps", "did you mean train.micro_batch?"},
      {"checkpoint.save_every_n_steps", "did you mean checkpoint.every_steps?"},
      {"train.mixed_precision", "did you mean train.precision?"},
      {"sample.scheduler", "did you mean sample.solver?"},
      {"steps", "did you mean train.steps or sample.steps?"},
      {"train.stepz", "did you mean train.steps?"},
      {"train.weight_decay", "did you mean optimizer.weight_decay?"}};
  for (const auto& [key, words] : cases)
    EXPECT_THAT(error_of("", {fmt::format("{}=1", key)}), HasSubstr(words)) << key;
}

TEST_F(RunFile, RefusesValuesThatNoRunCanHave) {
  for (const char* setting : {"sample.solver=nonsense",
                              "sample.steps=-3",
                              "sample.steps=0",
                              "sample.steps=1000",
                              "sample.cfg=nan",
                              "sample.cfg=inf",
                              "sample.cfg=-1",
                              "sample.cfg=1e30",
                              "sample.size=[0, 64]",
                              "sample.size=[64]",
                              "sample.size=[-64, 64]",
                              "sample.size=[64, 64, 64]",
                              "checkpoint.every_minutes=-1",
                              "checkpoint.every_minutes=nan",
                              "optimizer.weight_decay=-5",
                              "optimizer.weight_decay=nan",
                              "optimizer.lr=inf",
                              "optimizer.lr=nan",
                              "optimizer.lr=-1",
                              "optimizer.text_encoder_lr=-0.5",
                              "optimizer.text_encoder_lr=inf",
                              "optimizer.eps=0",
                              "optimizer.eps=nan",
                              "optimizer.betas=[0.9]",
                              "optimizer.betas=[0.9, 1.0]",
                              "optimizer.betas=[nan, 0.9]",
                              "optimizer.betas=[]",
                              "optimizer.grad_clip=-1",
                              "optimizer.grad_clip=inf",
                              "optimizer.schedule=step",
                              "optimizer.schedule_cycles=0",
                              "optimizer.schedule_power=0",
                              "optimizer.end_lr=-1",
                              "optimizer.lr_scale=[['unet.*', nan]]",
                              "optimizer.lr_scale=[['a']]",
                              "optimizer.warmup_steps=-1",
                              "train.threads=-1",
                              "train.steps=0",
                              "train.steps=10000000000",
                              "train.stop_after_hours=-1",
                              "train.stop_after_hours=inf",
                              "train.global_batch=0",
                              "train.micro_batch=-1",
                              "train.precision=fp8",
                              "train.device=tpu",
                              "train.clip_skip=-1",
                              "train.target=[]",
                              "train.target=['vae', 'unet']",
                              "train.target=['unet2']",
                              "train.prediction=x",
                              "train.beta_range=[0.2, 0.1]",
                              "train.beta_range=[0, 0.1]",
                              "train.beta_range=[nan, nan]",
                              "train.min_snr_gamma=nan",
                              "train.noise_offset=2",
                              "train.pyramid_levels=11",
                              "train.pyramid_discount=nan",
                              "train.whole_masks=-0.1",
                              "train.timesteps=[5, 5]",
                              "train.timesteps=[-1, 5]",
                              "vae.l2_weight=-1",
                              "vae.kl_weight=inf",
                              "vae.gradient_weight=nan",
                              "ema.decay=1",
                              "ema.decay=nan",
                              "communication.bucket_mb=0",
                              "communication.bucket_mb=inf",
                              "communication.timeout_seconds=-1",
                              "communication.timeout_seconds=inf",
                              "communication.wire=fp16",
                              "checkpoint.every_steps=-1",
                              "checkpoint.weights_dtype=fp8",
                              "checkpoint.keep=-1",
                              "validation.fraction=1",
                              "validation.fraction=nan",
                              "metrics.port=65536",
                              "metrics.port=-2",
                              "audit.batches=-1",
                              "data.caption_dropout=1.5",
                              "data.flip=nan",
                              "data.threads=0",
                              "data.prefetch=0",
                              "data.keep_tags=-1",
                              "data.max_token_length=100",
                              "data.on_bad_row=maybe",
                              "data.front_end=x",
                              "data.caption_rename=[['', 'a']]",
                              "mixture.a=-1",
                              "mixture.a=nan",
                              "mixture.a=inf",
                              "mixture.pass_draws=-1",
                              "seed=-1",
                              "name=a/b",
                              "name=",
                              "name=..",
                              "model.path=",
                              "data.store="}) {
    const std::string error = error_of("", {setting});
    const std::string key = std::string(setting).substr(0, std::string(setting).find('='));
    EXPECT_THAT(error, StartsWith(fmt::format("--set {}: ", setting)));
    EXPECT_THAT(error, HasSubstr(": must be ")) << setting;
    EXPECT_THAT(error, HasSubstr(key.starts_with("mixture.a") ? "mixture.\"a\"" : key)) << setting;
  }
}

TEST_F(RunFile, SaysWhatIsRequired) {
  EXPECT_THAT(error_in("[model]\npath = 'm'\n"), HasSubstr("data.store is missing"));
  EXPECT_THAT(error_in("[data]\nstore = 's'\n"), HasSubstr("model.path is missing"));
  EXPECT_THAT(error_in("{\"model\": {}}"), HasSubstr("is JSON"));
}

TEST_F(RunFile, TakesPromptsFromAFile) {
  std::ofstream(folder_.path() / "prompts.txt") << "# two\r\n\n  a cat, sitting  \r\na dog\n";
  const std::string file = (folder_.path() / "prompts.txt").string();
  const std::vector<std::string> expected{"a cat, sitting", "a dog"};
  EXPECT_EQ(load("[sample]\nprompts = '" + file + "'\n").sample.prompts, expected);
  EXPECT_EQ(load("", {"sample.prompts=" + file}).sample.prompts, expected);
  EXPECT_THAT(error_of("", {"sample.prompts=none.txt"}), HasSubstr("none.txt"));
}

TEST_F(RunFile, WarnsOfSettingsWithoutEffect) {
  const auto warnings = [this](const std::vector<std::string>& overrides) {
    return settings_warnings(load("", overrides));
  };
  EXPECT_THAT(warnings({}), IsEmpty());
  EXPECT_THAT(warnings({"optimizer.warmup_steps=10", "train.steps=10"}),
              ElementsAre(HasSubstr("the run of 10 steps ends before")));
  EXPECT_THAT(warnings({"optimizer.warmup_steps=9", "train.steps=10"}), IsEmpty());
  EXPECT_THAT(
      warnings({"sample.every_steps=5"}),
      ElementsAre(HasSubstr("sample.every_steps = 5 has no effect without sample.prompts")));
  EXPECT_THAT(warnings({"sample.prompts=['x']"}),
              ElementsAre(HasSubstr("has no effect without sample.every_steps")));
  EXPECT_THAT(warnings({"sample.prompts=['x']", "sample.every_steps=5"}), IsEmpty());
  EXPECT_THAT(warnings({"vae.l2_weight=1"}), ElementsAre(HasSubstr("train.target = [\"vae\"]")));
  EXPECT_THAT(warnings({"optimizer.schedule_cycles=3"}),
              ElementsAre(HasSubstr("cosine_with_restarts")));
}

TEST_F(RunFile, RefusesARunFileThatIsNotThereOrNotToml) {
  EXPECT_THROW(load_config(folder_.path() / "none.toml"), UsageError);
  EXPECT_THAT(error_of("[train\n"), HasSubstr("line 5"));
}

}  // namespace
}  // namespace kessoku::runtime
