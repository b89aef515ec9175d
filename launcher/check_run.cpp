#include "launcher/check_run.h"

#include "launcher/model_folder.h"
#include "runtime/run/training_data.h"
#include "runtime/run/training_model.h"

namespace kessoku::launcher {

std::vector<std::string> check_run(runtime::RunConfig config) {
  const runtime::TrainingData data(config);
  const runtime::TrainingModel model(config, data.store, resolve_model(model_options(config)));
  return data.warnings(config);
}

}  // namespace kessoku::launcher
