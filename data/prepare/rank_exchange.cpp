#include "data/prepare/rank_exchange.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/system_error.h"
#include "data/store/store_manifest.h"

namespace kessoku::data {

using nlohmann::json;

namespace {

std::string to_text(const Part& part) {
  json skipped = json::array();
  for (const Skipped& entry : part.skipped) skipped.push_back(to_json(entry));
  return dump({{"error", part.error},
               {"exit_code", part.exit_code},
               {"all_known", part.all_known},
               {"counts", {part.rows, part.encoded, part.reused, part.refreshed, part.moved}},
               {"skipped", skipped},
               {"warnings", part.warnings},
               {"shard", to_json(part.shard)}});
}

Part from_text(const std::string& text) {
  const json document = kessoku::parse_json(text, "another rank's message");
  Part part{.error = document.at("error"), .exit_code = document.at("exit_code")};
  part.all_known = document.at("all_known");
  part.rows = document.at("counts").at(0);
  part.encoded = document.at("counts").at(1);
  part.reused = document.at("counts").at(2);
  part.refreshed = document.at("counts").at(3);
  part.moved = document.at("counts").at(4);
  for (const json& entry : document.at("skipped")) part.skipped.push_back(skipped_from_json(entry));
  part.warnings = document.at("warnings").get<std::vector<std::string>>();
  part.shard = shard_from_json(document.at("shard"));
  return part;
}

Part failed(ExitCode code, const std::string& message) {
  return {.error = message, .exit_code = static_cast<int>(code)};
}

Part run(const std::function<Part()>& work) {
  try {
    return work();
  } catch (const Error& error) {
    return failed(error.exit_code(), error.what());
  } catch (const std::exception& error) {
    const std::string what = error.what();
    if (is_machine_failure(error))
      return failed(ExitCode::kCannotWrite,
                    fmt::format("preparing the store: {}", what.substr(0, what.find('\n'))));
    return failed(ExitCode::kInternal, fmt::format("preparing the store: {}", error.what()));
  }
}

}  // namespace

std::vector<Part> exchange(const PrepareOptions& options, const std::function<Part()>& work) {
  const std::string own = to_text(run(work));
  std::vector<Part> parts;
  for (const std::string& text : options.ranks > 1 ? options.gather(own) : std::vector{own})
    parts.push_back(from_text(text));
  for (const Part& part : parts) {
    if (!part.error.empty()) throw Error(static_cast<ExitCode>(part.exit_code), part.error);
  }
  return parts;
}

}  // namespace kessoku::data
