#include "runtime/checkpoint/checkpoint_writer.h"

#include <ATen/ops/zeros.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/ParallelGuard.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/output_file.h"
#include "base/process/stderr_line.h"
#include "model/stable_diffusion/model_writer.h"
#include "model/weights/safetensors.h"
#include "runtime/checkpoint/latest_link.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/resume_changes.h"
#include "runtime/checkpoint/weight_check.h"
#include "runtime/host/process_resources.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

at::ScalarType weights_dtype(const RunConfig& config) {
  if (config.checkpoint.weights_dtype == "fp32") return at::kFloat;
  return config.checkpoint.weights_dtype == "bf16" ? at::kBFloat16 : at::kHalf;
}

/// Where a writer leaves what the manifest is to say of its part.
fs::path part_file(const fs::path& folder, int rank) {
  return folder / fmt::format("part-{:05}.json", rank);
}

/// Bytes [begin, end) of a file of `size` that rank `rank` writes. Parts meet at whole MiB: hosts
/// that share a page of a network file system overwrite what the other has of it.
std::pair<uint64_t, uint64_t> span_of(uint64_t size, const Communicator& communicator) {
  constexpr uint64_t kUnit = uint64_t{1} << 20;
  const auto ranks = static_cast<uint64_t>(communicator.size());
  const auto boundary = [&](uint64_t rank) {
    return std::min(size, (size / kUnit * rank + ranks - 1) / ranks * kUnit);
  };
  const auto rank = static_cast<uint64_t>(communicator.rank());
  return {boundary(rank), rank + 1 == ranks ? size : boundary(rank + 1)};
}

/// The trained parameters of which this rank writes something.
std::set<std::string> written_names(const model::StableDiffusion& model, at::ScalarType dtype,
                                    const Communicator& communicator) {
  std::set<std::string> names;
  for (const auto& [file, tensors] : model::weight_files_of(model::output_of(model, dtype))) {
    const model::SafetensorsImage image(tensors, model::kFolderMetadata);
    const auto [begin, end] = span_of(image.size(), communicator);
    for (const std::string& name : image.names_in(begin, end))
      names.insert(fs::path(file).begin()->string() + "." + name);
  }
  return names;
}

/// Writes bytes [begin, end) of the file that `image` is.
FilePart write_span(const fs::path& folder, const std::string& file,
                    const model::SafetensorsImage& image, uint64_t begin, uint64_t end) {
  OutputFile out(folder / file, begin);
  image.write(begin, end, [&](std::span<const std::byte> bytes) { out.write(bytes); });
  out.finish();
  return {file, image.size(), begin, out.bytes_written(), to_hex(out.checksum())};
}

}  // namespace

CheckpointWriter::CheckpointWriter(fs::path run, const RunConfig& config, RunIdentity identity,
                                   const data::Store& store, const model::StableDiffusion& model,
                                   Communicator& communicator, std::function<void()> before_copy)
    : run_(std::move(run)),
      config_(config),
      identity_(std::move(identity)),
      store_(store),
      model_(model),
      communicator_(communicator),
      before_copy_(std::move(before_copy)),
      dtype_(weights_dtype(config)),
      snapshot_(written_names(model, dtype_, communicator), dtype_) {
  for (const auto& [part, parameters] : {std::pair{"unet", &model.unet.parameters()},
                                         {"text_encoder", &model.text_encoder.parameters()},
                                         {"vae", &model.vae.parameters()}}) {
    if (dtype_ == at::kFloat) break;
    const std::string problem = check_weights(*parameters, dtype_).too_large;
    if (!problem.empty()) widen(fmt::format("{}.{}", part, problem));
  }
  if (!first()) return;
  fs::create_directories(checkpoints_of(run_));
  remove_unfinished_checkpoints(run_);
}

CheckpointWriter::~CheckpointWriter() {
  for (const std::future<void>* task : {&work_, &removal_}) {
    if (task->valid()) task->wait();
  }
}

void CheckpointWriter::widen(const std::string& why) {
  if (why.empty() || dtype_ == at::kFloat) return;
  if (first()) {
    log_warning(
        "{}: checkpoints hold their weights as fp32 (checkpoint.weights_dtype was "
        "{})",
        why, config_.checkpoint.weights_dtype);
  }
  if (reserving_.valid()) reserving_.get();
  dtype_ = at::kFloat;
  snapshot_ = Snapshot(written_names(model_, dtype_, communicator_), dtype_);
}

fs::path CheckpointWriter::beside_of(uint64_t step) const {
  return checkpoints_of(run_) / (checkpoint_name(step) + ".tmp");
}

bool CheckpointWriter::after_step(Trainer& trainer, WriterState& state, Due due) {
  advance(state);
  reserve(trainer);
  due_ |= due != Due::kNo;
  const bool begins = due == Due::kNow || (due_ && !busy());
  if (begins) {
    finish();
    begin(trainer);
    due_ = false;
  }
  state = own_state();
  return begins;
}

/// Takes the memory for copies in the background, if there is enough: after a step, when the
/// process has once had all that a step needs. Else the first `begin` does, and takes longer.
void CheckpointWriter::reserve(Trainer& trainer) {
  if (!config_.checkpoint.background || snapshot_.has_room() ||
      !fits_memory(snapshot_.bytes(trainer), communicator_.local_size()))
    return;
  snapshot_.reserve(trainer);
  reserving_ = std::async(std::launch::async, [this] { snapshot_.touch(); });
}

void CheckpointWriter::begin(Trainer& trainer) {
  const WeightProblems problems = check_weights(trainer, dtype_, communicator_);
  if (!problems.not_finite.empty()) {
    throw Diverged(fmt::format("training diverged with step {} ({})", trainer.steps_done(),
                               problems.not_finite));
  }
  widen(problems.too_large);
  const Trainer::Verified verified = trainer.verify_weights();
  if (before_copy_) before_copy_();
  std::error_code ignored;
  if (first()) {
    fs::remove_all(beside_of(trainer.steps_done()), ignored);
    if (!fs::exists(checkpoints_of(run_), ignored)) {
      log_warning("{} was removed with all checkpoints in it; it is created again",
                  checkpoints_of(run_).string());
    }
  }
  begun_ = std::chrono::steady_clock::now();
  reserve(trainer);
  if (reserving_.valid()) reserving_.get();
  // A copy that does not fit would be the end of the run: then the training waits instead.
  const bool background = communicator_.agrees(snapshot_.has_room());
  if (background) {
    snapshot_.take(trainer);
  } else {
    snapshot_.borrow(trainer);
  }
  if (first()) {
    manifest_ = manifest_of(config_, identity_, store_, trainer, snapshot_, communicator_.size());
    manifest_["verified"] = verified.all();
  }
  failed_ = complete_ = false;
  phase_ = Phase::kParts;
  work_ = std::async(std::launch::async, [this, device = trainer.flat().values().device()] {
    // It reads weights that are on a GPU, and a thread begins on the first one.
    c10::impl::VirtualGuardImpl(device.type()).setDevice(device);
    write_part();
  });
  if (!background) wait();
}

void CheckpointWriter::write_part() {
  const c10::ParallelGuard serial(true);  // the cores belong to the training
  const fs::path folder = beside_of(snapshot_.step());
  fs::create_directories(folder / "state");
  json parts = json::array();
  parts.push_back(to_json(write_state(folder)));
  for (const FilePart& part : write_weights(folder)) parts.push_back(to_json(part));
  if (first()) {
    if (ledger_.empty()) ledger_ = store_ledger(store_);
    model::write_safetensors(folder / kLedgerFile, ledger_);
  }
  write_file_atomically(part_file(folder, communicator_.rank()), parts.dump());
}

FilePart CheckpointWriter::write_state(const fs::path& folder) const {
  const model::SafetensorsImage image(snapshot_.state(), shard_metadata(snapshot_.ranges()));
  const std::string name = state_shard_name(communicator_.rank(), communicator_.size());
  return write_span(folder, "state/" + name, image, 0, image.size());
}

std::vector<FilePart> CheckpointWriter::write_weights(const fs::path& folder) const {
  const model::ModelOutput output = model::output_of(model_, dtype_, snapshot_.weights());
  if (first()) model::write_model_folder(folder, output, model::WeightFormat::kNone);
  std::vector<FilePart> parts;
  for (const auto& [file, tensors] : model::weight_files_of(output)) {
    const model::SafetensorsImage image(tensors, model::kFolderMetadata);
    const auto [begin, end] = span_of(image.size(), communicator_);
    if (begin == end) continue;
    fs::create_directories((folder / file).parent_path());
    parts.push_back(write_span(folder, file, image, begin, end));
  }
  return parts;
}

/// This rank's share of the numbers to sum: whether its part is unfinished, whether it failed.
WriterState CheckpointWriter::own_state() {
  using namespace std::chrono_literals;
  if (!work_.valid()) return {0, failed_};
  if (work_.wait_for(0s) != std::future_status::ready) return {1, failed_};
  try {
    work_.get();
  } catch (const std::exception& error) {
    failed_ = true;
    report(error);
  }
  return {0, failed_};
}

/// Goes on with what all ranks' states tell, after a step.
void CheckpointWriter::advance(const WriterState& all) {
  proceed(all);
  if (busy() || !std::exchange(untried_, false) || !first()) return;
  if (removal_.valid()) removal_.wait();
  removal_ = std::async(std::launch::async, [this] { remove_old(); });
}

void CheckpointWriter::proceed(const WriterState& all) {
  if (all.unfinished > 0 || phase_ == Phase::kIdle) return;
  const bool failed = all.failed > 0;
  if (phase_ == Phase::kParts && !failed) {
    phase_ = Phase::kCommit;
    if (first()) work_ = std::async(std::launch::async, [this] { commit(); });
    return;
  }
  phase_ = Phase::kIdle;
  complete_ = !failed;
  untried_ = !failed;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun_;
  records_.push_back({snapshot_.step(), !failed, took.count(), bytes_});
  snapshot_.release();
  std::error_code ignored;
  if (failed && first()) fs::remove_all(beside_of(snapshot_.step()), ignored);
}

bool CheckpointWriter::finish() {
  wait();
  if (std::exchange(untried_, false) && first()) remove_old();
  return complete_;
}

bool CheckpointWriter::wait() {
  while (busy()) {
    if (work_.valid()) work_.wait();
    const WriterState own = own_state();
    at::Tensor all = at::zeros({1}, at::kLong);
    *all.data_ptr<int64_t>() = own.failed;
    communicator_.all_reduce(all)->wait();
    proceed({0, static_cast<int>(*all.data_ptr<int64_t>())});
  }
  return complete_;
}

void CheckpointWriter::commit() {
  const fs::path folder = beside_of(snapshot_.step());
  json files = json::array();
  std::set<std::string> listed;
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const fs::path file = part_file(folder, rank);
    for (const json& part : parse_json(read_file(file), file.string())) {
      listed.insert(part.at("file").get<std::string>());
      files.push_back(part);
    }
    fs::remove(file);
  }
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = fs::relative(entry.path(), folder).generic_string();
    if (listed.contains(name)) continue;
    fsync_path(entry.path());
    files.push_back(to_json(describe_checkpoint_file(folder, entry.path())));
  }
  uint64_t bytes = 0;
  for (const json& part : files) bytes += part.at("bytes").get<uint64_t>();
  bytes_ = bytes;
  json manifest = manifest_;
  manifest["files"] = files;
  const std::string warning =
      commit_checkpoint(run_, folder, checkpoint_name(snapshot_.step()), manifest);
  if (!warning.empty() && told_.empty()) log_warning("{}", warning);
  told_ = warning;
}

void CheckpointWriter::remove_old() const {
  try {
    remove_old_checkpoints(run_, config_.checkpoint.keep, config_.checkpoint.keep_every_steps);
  } catch (const std::exception& error) {  // the newest one is complete all the same
    log_warning("an old checkpoint stays: {}", error.what());
  }
}

void CheckpointWriter::give_up(const Diverged& error, uint64_t step) {
  wait();
  const std::string text = first() ? set_aside_diverged(step) : "";
  throw UsageError(fmt::format("{}: lower optimizer.lr or set optimizer.grad_clip{}", error.what(),
                               communicator_.broadcast_text(text)));
}

std::string CheckpointWriter::set_aside_diverged(uint64_t step) const {
  std::string text;
  try {
    if (removal_.valid()) removal_.wait();
    const fs::path newest = checkpoints_of(run_) / checkpoint_name(step);
    if (fs::exists(newest)) {
      text = fmt::format("; {} led to it and is now {}", newest.string(),
                         set_aside(newest, Aside::kDiverged).filename().string());
    }
    const std::vector<fs::path> sound = list_checkpoints(run_);
    if (sound.empty()) return text + "; the same command then starts from step 0";
    point_latest_at(checkpoints_of(run_), sound.front().filename());
    return text + fmt::format("; the same command then resumes from {}", sound.front().string());
  } catch (const std::exception& failure) {
    return text + fmt::format(" ({})", failure.what());
  }
}

void CheckpointWriter::report(const std::exception& error) const {
  const std::vector<fs::path> before = list_checkpoints(run_);
  write_error(fmt::format(
      "the checkpoint of step {} is dropped: {}; {}", snapshot_.step(), error.what(),
      before.empty() ? "there is none yet" : fmt::format("{} stays", before.front().string())));
}

}  // namespace kessoku::runtime
