#include "launcher/options/tokens_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, TokensOptions& options) {
  CLI::App* command =
      app.add_subcommand("tokens", "Show how captions are tokenized; compare trigger words");
  command
      ->add_option("MODEL", options.model.path,
                   "Model folder, lone weight file, run folder, or a tokenizer's folder or "
                   "tokenizer.json")
      ->required();
  command->add_option("TEXT", options.texts, "Captions, or with --compare trigger words");
  command->add_option("--file", options.file, "File of texts, one a line");
  command->add_option("--front-end", options.model.front_end,
                      "What is done to texts first: hf or openai (default: as the model says)");
  command->add_option("--chunks", options.chunks, "Chunks of 75 tokens that a text may have")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--config", options.model.config,
                      "Model folder whose configs and tokenizer a lone weight file takes");
  command->add_flag("--compare", options.compare,
                    "Warn about trigger words that share nearly all tokens or that the text "
                    "encoder can hardly tell apart, and propose others");
  command->add_option("--store", options.store,
                      "With --compare: also the words of this store's captions that look like "
                      "trigger words");
  command->add_flag("--json", options.json, "Print JSON");
  command->footer(
      "Examples: kessoku tokens models/sd15 \"Bfan1 and Bfan2 on a stage\"\n"
      "          kessoku tokens models/sd15 --file captions.txt --json\n"
      "          kessoku tokens models/sd15 --compare Bscreen Bfan1 Bfan2\n"
      "          kessoku tokens models/sd15 --compare --store stores/bocchi-512");
  return command;
}

}  // namespace kessoku::launcher
