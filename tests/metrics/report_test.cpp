#include "metrics/report/report.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <regex>

#include "base/error.h"
#include "base/file.h"
#include "metrics/account_book.h"
#include "metrics/html.h"
#include "metrics/ledger/ledger_file.h"
#include "metrics/report/report_curves.h"
#include "metrics/run_log.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kHostile =
    R"~(</pre><script>alert(1)</script><img src=x onerror="alert(2)">'&)~";

/// A run folder, written as the trainer does.
class HtmlReport : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((run_ / name).parent_path());
    std::ofstream(run_ / name, std::ios::binary) << text;
  }
  void write_config(const std::string& name = "demo") {
    write("config.toml",
          fmt::format("name = '''{}'''\nseed = 555\n[train]\nsteps = 400\nglobal_batch = 32\n",
                      name));
  }
  void write_log(uint64_t steps, const std::string& category = "fanart") {
    std::filesystem::create_directories(run_);
    RunLog log(run_ / "log.jsonl", 0);
    for (uint64_t step = 1; step <= steps; ++step) {
      StepRecord record;
      record.step = step;
      record.draws = 4 * step;
      record.loss = 1.0 / static_cast<double>(step);
      record.seconds = 0.25;
      record.samples_per_second = 16;
      record.phase_seconds.fill(0.03);
      record.category_draws = {{category, 1}, {"screenshots", 3}};
      record.category_losses = {{category, 2 * record.loss}, {"screenshots", record.loss}};
      record.timestep_losses = {record.loss, NAN, record.loss / 2, record.loss / 3};
      record.time = 1000 + static_cast<double>(step);
      log.append(record);
    }
  }
  void write_grid(const std::string& folder, const std::string& prompts) {
    write("samples/" + folder + "/grid.png", "\x89PNG\r\n\x1a\n" + folder);
    if (!prompts.empty()) write("samples/" + folder + "/prompts.txt", prompts);
  }
  std::string page() const { return read_file(write_report({run_})); }

  tests::TemporaryFolder folder_;
  std::filesystem::path run_ = folder_.path() / "run";
};

/// The same, seen by a browser. Ubuntu's Chromium is a snap, which reads no temporary files.
class HtmlReportInBrowser : public HtmlReport {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/chromium")) GTEST_SKIP() << "no /usr/bin/chromium";
  }

  struct Browsed {
    std::string dom, console;
  };
  /// The page's elements after its scripts ran, and what they said.
  Browsed browse() const { return browse({run_}); }
  Browsed browse(const std::vector<std::filesystem::path>& runs) const {
    return open(write_report(runs));
  }
  Browsed open(const std::filesystem::path& page) const {
    const std::filesystem::path said = folder_.path() / "console";
    const std::string command = fmt::format(
        "HOME={0} chromium --headless --no-sandbox --disable-gpu --user-data-dir={0}/profile "
        "--enable-logging=stderr "
        "--virtual-time-budget=5000 --dump-dom file://{1} 2>{2}",
        folder_.path().string(), page.string(), said.string());
    std::FILE* browser = ::popen(command.c_str(), "r");
    Browsed out;
    char piece[4096];
    for (size_t got = 0; (got = std::fread(piece, 1, sizeof(piece), browser)) > 0;)
      out.dom.append(piece, got);
    EXPECT_EQ(::pclose(browser), 0) << command;
    const std::string lines = read_file(said);
    const std::regex console("[^\n]*CONSOLE[^\n]*");
    for (std::sregex_iterator line(lines.begin(), lines.end(), console), end; line != end; ++line) {
      out.console += line->str() + "\n";
    }
    return out;
  }
};

TEST_F(HtmlReport, ThePageNamesNothingOutsideItself) {
  write_config();
  write_log(10);
  write_grid("step-00000010", "maru, fanart\n");
  const std::string html = page();
  EXPECT_THAT(html,
              AllOf(Not(HasSubstr("http://")), Not(HasSubstr("https://")), Not(HasSubstr("<link")),
                    Not(HasSubstr("@import")), Not(HasSubstr("url("))));
  const std::regex source(R"re((?:src|href)="(.{5}))re");
  for (std::sregex_iterator found(html.begin(), html.end(), source), end; found != end; ++found) {
    EXPECT_EQ((*found)[1], "data:");
  }
}

TEST_F(HtmlReport, RatesAreShownAsTheyWereWritten) {
  write("config.toml", "name = 'demo'\n[optimizer]\nlr = 6e-4\ntext_encoder_lr = 5e-7\n");
  write_log(3);
  EXPECT_THAT(page(), AllOf(HasSubstr(">0.0006<"), HasSubstr(">5e-07<")));
}

TEST_F(HtmlReportInBrowser, ABrowserDrawsAllCurvesWithoutComplaint) {
  write_config();
  write_log(400);
  const Browsed browsed = browse();
  EXPECT_EQ(browsed.console, "");
  for (const char* id : {"loss", "grad_norm", "lr", "samples_per_second", "loss_by_folder",
                         "loss_by_timesteps", "phases"}) {
    const std::regex drawn(fmt::format(R"re(<canvas id="{}"[^>]*style="[^"]*height: [1-9])re", id));
    EXPECT_TRUE(std::regex_search(browsed.dom, drawn)) << id;
  }
}

TEST_F(HtmlReportInBrowser, TextsOfTheRunStayTexts) {
  write_config("</title><script>alert(1)</script><img src=x onerror=alert(2)>");
  write_log(3, kHostile);
  write(
      "mixture.json",
      R"({"categories":[{"path":"</td><script>alert(1)</script><img src=x>","examples":1,"share":1}]})");
  write(
      "measures.json",
      R"({"figures":[{"label":"</th><script>alert(1)</script>","value":"<img src=x>","target":"<b>","note":"<i>"}],
                             "per_character":{"<script>alert(1)</script>":{"<img src=x>":"<img src=x>"}}})");
  write_grid("step-00000003", std::string(kHostile) + "\n");
  write_grid("final-<img src=x>", "");
  EXPECT_THAT(page(), AllOf(Not(HasSubstr("<script>alert")), Not(HasSubstr("<img src=x")),
                            Not(HasSubstr("</title><script"))));
  const Browsed browsed = browse();
  EXPECT_EQ(browsed.console, "");
  EXPECT_THAT(browsed.dom, Not(HasSubstr("<img src=\"x\"")));
}

TEST_F(HtmlReport, TheMixtureStandsBesideWhatWasDrawn) {
  write_log(100);
  write(
      "mixture.json",
      R"({"categories":[{"path":".","examples":5,"share":1},{"path":"fanart","examples":163,"share":0.3},
                            {"path":"screenshots","examples":7024,"share":0.7},{"path":"screenshots/kita","examples":9,"share":0.1}]})");
  const std::string html = page();
  EXPECT_THAT(html,
              AllOf(HasSubstr(R"(<th scope="row">fanart</th><td class="number extra">163</td>)"
                              R"(<td class="number">30.00 %</td><td class="number">25.00 %</td>)"
                              R"(<td class="number extra">100</td>)"),
                    HasSubstr("7,024"), HasSubstr("75.00 %"), HasSubstr("screenshots/kita")));
}

TEST_F(HtmlReport, WhatChangedDuringTheRunIsListed) {
  write_log(10);
  EXPECT_THAT(page(), Not(HasSubstr("Changes during the run")));
  {
    RunLog log(run_ / "log.jsonl", 10);
    RunChange change{.key = "data.caption_rename", .before = "[]"};
    change.after = R"([["<b>", "Bofa2"]])";
    change.captions = 1630;
    change.examples = 27'173;
    StepRecord record;
    record.step = 11;
    record.changes = {change};
    log.append(record);
  }
  EXPECT_THAT(page(), AllOf(HasSubstr("Changes during the run"), HasSubstr("data.caption_rename"),
                            HasSubstr("[[&quot;&lt;b&gt;&quot;, &quot;Bofa2&quot;]]"),
                            HasSubstr("1,630 captions of 27,173 images")));
}

TEST_F(HtmlReportInBrowser, RestartsAndChangesAreMarkedOnTheCurves) {
  write_config();
  write_log(30);
  for (const double time : {999.0, 1010.5, 1010.7, 1020.5}) {  // the second never took a step
    append_to_account_book(run_, {.time = time});
  }
  {
    RunLog log(run_ / "log.jsonl", 30);
    StepRecord record{.step = 31};
    record.changes = {{.key = "optimizer.lr", .before = "1e-4", .after = "5e-5"}};
    log.append(record);
  }
  const Browsed browsed = browse();
  EXPECT_EQ(browsed.console, "");
  EXPECT_THAT(browsed.dom, AllOf(HasSubstr("step 11: restarted"), HasSubstr("step 21: restarted"),
                                 HasSubstr("step 31: optimizer.lr changed"),
                                 HasSubstr("data-marks=\"11 21 31\"")));
}

TEST_F(HtmlReportInBrowser, SeveralRunsStandSideBySide) {
  write("config.toml", "name = 'slow'\n[optimizer]\nlr = 6e-4\n[train]\nsteps = 10\n");
  write_log(10);
  write_grid("step-00000010", "");
  const std::filesystem::path slow = run_;
  run_ = folder_.path() / "other";
  write("config.toml", "name = 'fast <b>'\n[optimizer]\nlr = 1e-3\n[train]\nsteps = 10\n");
  write_log(20, "</script><b>");
  const Browsed browsed = browse({slow, run_});
  EXPECT_EQ(browsed.console, "");
  EXPECT_EQ(write_report({slow, run_}), slow / "comparison.html");
  EXPECT_THAT(browsed.dom, AllOf(HasSubstr("<h1>slow, fast &lt;b&gt;</h1>"),
                                 HasSubstr(">optimizer.lr</th><td class=\"\">0.0006</td>"
                                           "<td class=\"\">0.001</td>"),
                                 Not(HasSubstr(">train.steps</th>")), HasSubstr("slow: Step 10")));
  const std::regex drawn(R"re(<canvas id="loss"[^>]*style="[^"]*height: [1-9])re");
  EXPECT_TRUE(std::regex_search(browsed.dom, drawn));
}

TEST_F(HtmlReport, ALedgersFindingsAreListed) {
  write_config();
  write_log(3);
  Ledger ledger{.step = 3};
  for (int i = 0; i < 12; ++i) {
    ledger.images.push_back({fmt::format("fanart/{}<b>.png", i), "fanart"});
    for (int draw = 0; draw < 10; ++draw)
      ledger.images.back().bins[3].add((i == 7 ? 3.0 : 1.0) + 0.01 * (draw + i % 3));
  }
  LedgerFile(run_, ledger);
  EXPECT_THAT(page(), AllOf(HasSubstr("Far above their folder"), HasSubstr("Learned worst"),
                            HasSubstr("fanart/7&lt;b&gt;.png"), HasSubstr("300–399")));
}

TEST_F(HtmlReport, RunsOfOneNameAreToldApartByTheirFolders) {
  write_config();
  const std::filesystem::path first = run_;
  run_ = folder_.path() / "other";
  write_config();
  EXPECT_THAT(
      read_file(write_report({first, run_})),
      HasSubstr(fmt::format("<h1>demo ({}), demo ({})</h1>", first.string(), run_.string())));
}

TEST_F(HtmlReport, MeasuresStandWithTheirUnitAndTarget) {
  write_config();
  write("measures.json",
        R"({"figures":[{"label":"found","value":90.6,"unit":"%","target":80,"note":"87 of 96"},
                                        {"label":"told","value":3,"target":null}],
                             "per_character":{"maru":{"singles":{"found":7,"of":8}},
                                              "kita":{"singles":{"found":6,"of":8},"pairs":{"found":5,"of":16}}}})");
  EXPECT_THAT(page(), AllOf(HasSubstr("90.6 %<"), HasSubstr("80 %<"), HasSubstr("87 of 96"),
                            HasSubstr(">3<"), HasSubstr("7 of 8"), HasSubstr("5 of 16"),
                            HasSubstr(">pairs<")));
}

TEST_F(HtmlReport, GridsComeNewestFirstAndFinalOnesBefore) {
  write_config();
  for (const char* folder : {"step-00000009", "final", "step-00000100", "step-00000010"})
    write_grid(folder, "");
  write("samples/step-00000200/grid.png", "no PNG");
  const std::string html = page();
  std::vector<size_t> places;
  for (const char* title : {"At the end<", "Step 100<", "Step 10<", "Step 9<"})
    places.push_back(html.find(title));
  EXPECT_THAT(places, Each(Not(std::string::npos)));
  EXPECT_TRUE(std::is_sorted(places.begin(), places.end()));
  EXPECT_THAT(html, HasSubstr("is not a PNG file"));
}

TEST_F(HtmlReportInBrowser, ASliderShowsOneStepAtATimeWithItsPrompts) {
  write_config();
  write_grid("final", "maru at the end\n");
  write_grid("step-00000010", "maru\n");
  write_grid("step-00000020", "maru\n");
  write_grid("step-00000030", "kita\n");
  const auto shown = [](const std::string& dom) {
    std::vector<std::string> titles;
    const std::regex figure(R"re(<figure class="step[^"]*"><figcaption>([^<]*)<)re");
    for (std::sregex_iterator found(dom.begin(), dom.end(), figure), end; found != end; ++found)
      titles.push_back((*found)[1]);
    return titles;
  };
  EXPECT_THAT(shown(page()), ElementsAre("Step 30", "Step 20", "Step 10")) << "without scripts";
  const Browsed newest = browse();
  EXPECT_EQ(newest.console, "");
  EXPECT_THAT(shown(newest.dom), ElementsAre("Step 30"));
  EXPECT_THAT(newest.dom, AllOf(HasSubstr("At the end<"), HasSubstr("aria-valuetext=\"Step 30\"")));

  std::string html = page();
  html.insert(html.rfind("</body>"),
              "<script>const slider = document.querySelector('label > input[type=range]');"
              "slider.value = 0; slider.dispatchEvent(new Event('input'));</script>");
  write("moved.html", html);
  const Browsed oldest = open(run_ / "moved.html");
  EXPECT_EQ(oldest.console, "");
  EXPECT_THAT(shown(oldest.dom), ElementsAre("Step 10"));
  EXPECT_THAT(oldest.dom.substr(oldest.dom.find("<figcaption>Step 10")),
              AllOf(HasSubstr("<li>maru</li>"), Not(HasSubstr("<li>kita</li>"))));
}

TEST_F(HtmlReport, OfManyGridsSomeAreShownWithTheFirstAndTheLast) {
  write_config();
  for (int step = 1; step <= 100; ++step) write_grid(fmt::format("step-{:08}", step), "");
  const std::string html = page();
  EXPECT_THAT(html, AllOf(HasSubstr("24 of 100"), HasSubstr("Step 100<"), HasSubstr("Step 1<")));
}

TEST_F(HtmlReport, ARunThatHasJustBegunHasAPage) {
  write_config("just begun");
  EXPECT_THAT(page(),
              AllOf(HasSubstr("<h1>just begun</h1>"), HasSubstr("No step has been taken yet")));
}

TEST_F(HtmlReport, StepsThatWereNotFiniteAreTold) {
  write_log(3);
  std::ofstream(run_ / "log.jsonl", std::ios::app)
      << R"({"step":4,"draws":16,"loss":null,"grad_norm":1})" << '\n';
  EXPECT_THAT(page(),
              HasSubstr("In 1 steps the loss or the gradient was not finite, first in step 4."));
}

TEST_F(HtmlReport, AFolderWithoutARunIsAUsageError) {
  EXPECT_THROW(write_report({folder_.path()}), UsageError);
}

TEST_F(HtmlReport, ADamagedFileIsNamed) {
  write_config();
  write("mixture.json", "{\"categories\": [");
  try {
    page();
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("mixture.json"));
  }
}

TEST(Curve, OfALongRunThePeaksStay) {
  Curve curve;
  for (int i = 0; i < 48'000; ++i) {
    curve.x.push_back(i + 1);
    curve.y.push_back(i == 12'345 ? 9.0 : i == 23'456 ? -9.0 : i % 7 == 0 ? NAN : 0.5);
  }
  const Curve few = decimate(curve, 2'000);
  EXPECT_LE(few.x.size(), 2'000u);
  EXPECT_EQ(few.y.size(), few.x.size());
  EXPECT_EQ(few.x.front(), 1);
  EXPECT_EQ(few.x.back(), 48'000);
  EXPECT_TRUE(std::is_sorted(few.x.begin(), few.x.end()));
  EXPECT_EQ(std::count(few.y.begin(), few.y.end(), 9.0), 1);
  EXPECT_EQ(std::count(few.y.begin(), few.y.end(), -9.0), 1);
}

TEST(Curve, SmoothingIsUnbiasedAndPassesOverGaps) {
  EXPECT_THAT(smooth({{1, 2, 3}, {4, NAN, 4}}, 10).y, Each(::testing::DoubleEq(4)));
  const std::vector<double> y = smooth({{1, 2}, {0, 1}}, 2).y;
  EXPECT_DOUBLE_EQ(y[1], 0.5 / 0.75);
}

// RFC 4648, section 10.
TEST(Base64, GivesTheStandardsVectors) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : vectors) EXPECT_EQ(base64(plain), coded);
}

TEST(Grouped, PutsACommaBeforeEachThreeDigits) {
  EXPECT_THAT(
      (std::vector{grouped(0), grouped(999), grouped(1000), grouped(27'173), grouped(1'234'567)}),
      ElementsAre("0", "999", "1,000", "27,173", "1,234,567"));
}

}  // namespace
}  // namespace kessoku::metrics
