#include "base/error.h"
#include "base/log.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "launcher/replaced_output.h"
#include "metrics/progress.h"
#include "model/stable_diffusion/model_writer.h"
#include "model/text/tokenizer.h"

namespace kessoku::launcher {

namespace fs = std::filesystem;

namespace {

std::optional<at::ScalarType> parse_dtype(const std::string& name) {
  if (name.empty()) return std::nullopt;
  return name == "fp32" ? at::kFloat : name == "bf16" ? at::kBFloat16 : at::kHalf;
}

/// The format of a lone file, told by its name; none: a folder.
std::optional<model::WeightFormat> file_format(const fs::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".safetensors") return model::WeightFormat::kSafetensors;
  for (const char* torch : {".ckpt", ".pt", ".pth", ".bin"}) {
    if (extension == torch) return model::WeightFormat::kTorch;
  }
  return std::nullopt;
}

/// Leaves one part, if one was asked for.
void choose_part(const std::string& part, model::ModelFiles& model) {
  if (part.empty()) return;
  const bool there = part == "unet"           ? model.unet.has_value()
                     : part == "text_encoder" ? model.text_encoder.has_value()
                                              : model.vae.has_value();
  if (!there) throw UsageError(fmt::format("{}: holds no {}", model.path.string(), part));
  if (part != "unet") model.unet.reset();
  if (part != "text_encoder") model.text_encoder.reset();
  if (part != "vae") model.vae.reset();
}

bool is_one_network(const model::ModelFiles& model) {
  return model.unet.has_value() + model.text_encoder.has_value() + model.vae.has_value() == 1;
}

/// A line that counts megabytes as they are written.
void show_progress(model::ModelOutput& output) {
  constexpr uint64_t kMegabyte = 1'000'000;
  uint64_t total = 0;
  const std::vector<model::TensorOutput*> tensors = model::tensors_of(output);
  for (const model::TensorOutput* tensor : tensors) total += tensor->bytes();
  const auto line =
      std::make_shared<metrics::Progress>("convert", "MB", (total + kMegabyte - 1) / kMegabyte);
  const auto done = std::make_shared<uint64_t>(0);
  for (model::TensorOutput* tensor : tensors) {
    tensor->release = [=, release = tensor->release, bytes = tensor->bytes()] {
      if (release) release();
      *done += bytes;
      line->update((*done + kMegabyte - 1) / kMegabyte);
    };
  }
}

std::string describe(const model::ModelFiles& model) {
  std::vector<std::string> parts;
  if (model.unet) parts.push_back("UNet");
  if (model.text_encoder) parts.push_back("text encoder");
  if (model.vae) parts.push_back("VAE");
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// Streams the weights from where they are stored to the destination.
void write(const ConvertOptions& options, const model::ModelFiles& stored,
           std::optional<model::WeightFormat> format) {
  model::ModelOutput output = model::output_of(stored, parse_dtype(options.dtype));
  show_progress(output);
  if (format) return model::write_model_file(options.destination, output, *format);
  const auto folder_format =
      options.bin ? model::WeightFormat::kTorch : model::WeightFormat::kSafetensors;
  replace_folder(options.destination, [&](const fs::path& folder) {
    if (is_one_network(stored)) return model::write_network_folder(folder, output, folder_format);
    const model::Tokenizer tokenizer = model::Tokenizer::load(stored.tokenizer);
    output.tokenizer = &tokenizer;
    model::write_model_folder(folder, output, folder_format);
  });
}

}  // namespace

void run(const ConvertOptions& options) {
  const std::optional<model::WeightFormat> format = file_format(options.destination);
  if (format && options.bin) {
    throw UsageError("convert: --bin is for folders; a lone file's format is that of its name");
  }
  const model::ModelSource source = resolve_model(options.source);
  require_free(options.destination, options.force, source);
  model::ModelFiles stored = model::open_model(source);
  choose_part(options.part, stored);
  if (!format && !is_one_network(stored)) model::require_whole(stored);
  write(options, stored, format);
  log_info("{}: {} of {}", options.destination, describe(stored), options.source.path);
}

}  // namespace kessoku::launcher
