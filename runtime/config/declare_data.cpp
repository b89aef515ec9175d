#include "runtime/config/declare.h"

namespace kessoku::runtime {

namespace {

bool names_a_folder(const std::string& name) {
  return !name.empty() && name[0] != '.' && name.size() <= 200 &&
         name.find_first_of(std::string_view("/\n\r\t\0", 5)) == std::string::npos;
}

constexpr const char* kFolderName = "the name of a folder: no / and no . at its start";

}  // namespace

void declare_run(std::vector<Key>& keys) {
  const Section key(keys, "", [](RunConfig& config) -> RunConfig& { return config; });
  key("name", &RunConfig::name, "names the run folder (runs/NAME), the metrics' label, the report")
      .matches(names_a_folder, kFolderName)
      .on_resume(OnResume::kFree);
  key("seed", &RunConfig::seed, "seed of everything random in the run").on_resume(OnResume::kFixed);

  using Model = RunConfig::Model;
  const Section model(keys, "model", &RunConfig::model);
  model("path", &Model::path,
        "model to start from: a diffusers folder, or a lone .safetensors or .ckpt file")
      .required()
      .page("weights.md");
  model("config", &Model::config, "model folder whose configs and tokenizer a lone file takes")
      .shown_default("Stable Diffusion 1.5's");
  model("vae", &Model::vae, "folder or file of a VAE to use instead of the model's")
      .shown_default("the model's");
  model("ema", &Model::ema, "start from the moving averages of a lone file's UNet");
}

void declare_data(std::vector<Key>& keys) {
  using Data = RunConfig::Data;
  const Section key(keys, "data", &RunConfig::data);
  key("store", &Data::store, "store made by kessoku prepare")
      .required()
      .page("preparing.md")
      .on_resume(OnResume::kFree);  // its contents are compared
  key("caption_dropout", &Data::caption_dropout,
      "probability that a draw has an empty caption; a folder's cond_dropout.txt overrides it")
      .probability()
      .on_resume(OnResume::kRecorded);
  key("caption_rename", &Data::caption_rename,
      "whole words that are replaced as captions are drawn: from, to")
      .on_resume(OnResume::kRecorded);
  key("max_token_length", &Data::max_token_length,
      "length to which captions are cut; above 75 they are encoded in chunks of 75")
      .one_of_numbers({75, 150, 225})
      .unit("tokens")
      .page("captions.md");
  key("front_end", &Data::front_end, "what is done to captions before they are tokenized")
      .one_of({"hf", "hf-fast", "openai"})
      .shown_default("as the model")
      .page("captions.md");
  key("shuffle_tags", &Data::shuffle_tags, "new order of the comma-separated tags at each draw")
      .page("captions.md")
      .on_resume(OnResume::kRecorded);
  key("keep_tags", &Data::keep_tags,
      "where tags are shuffled: so many stay in place after the main prompt, which always does; "
      "kohya's keep_tokens minus 1")
      .from_to(0, 1000)
      .unit("tags")
      .on_resume(OnResume::kRecorded);
  key("flip", &Data::flip,
      "probability that an image is mirrored; needs a store with images, or prepared with "
      "--variants 2; a folder's flip_p.txt overrides it. If neither is set, all variants of the "
      "store are drawn equally often")
      .probability()
      .on_resume(OnResume::kRecorded);
  key("threads", &Data::threads, "threads of a rank that read ahead")
      .from_to(1, 1024)
      .on_resume(OnResume::kFree);
  key("prefetch", &Data::prefetch, "batches of a rank that are ready at most")
      .from_to(1, 1024)
      .unit("batches")
      .on_resume(OnResume::kFree);
  key("on_bad_row", &Data::on_bad_row,
      "what to do about a damaged row of the store: end the run, or draw other images instead")
      .one_of({"stop", "skip"})
      .page("mixture.md")
      .on_resume(OnResume::kFree);

  using Mixture = RunConfig::MixtureSection;
  const Section mixture(keys, "mixture", &RunConfig::mixture);
  mixture("pass_draws", &Mixture::pass_draws,
          "length of a pass; 0 = until the rarest image was drawn once")
      .unit("draws")
      .page("mixture.md")
      .on_resume(OnResume::kRecorded);
  mixture("", &Mixture::rules,
          "weight, relative to their siblings, of the folders that the glob matches")
      .at_least(0)
      .shown_default("as multiply.txt says")
      .page("mixture.md")
      .on_resume(OnResume::kRecorded);
}

}  // namespace kessoku::runtime
