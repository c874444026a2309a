#include "config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "config/property.h"

namespace batchmax::config {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Environment = std::map<std::string, std::string>;

Loaded load_or_die(const std::vector<std::string>& arguments, const Environment& environment = {}) {
  auto result = load(arguments, environment);
  if (auto* errors = std::get_if<ConfigErrors>(&result)) {
    for (const auto& message : errors->messages) ADD_FAILURE() << message;
    return {};
  }
  return std::get<Loaded>(std::move(result));
}

std::vector<std::string> errors_of(const std::vector<std::string>& arguments,
                                   const Environment& environment = {}) {
  auto result = load(arguments, environment);
  auto* errors = std::get_if<ConfigErrors>(&result);
  return errors != nullptr ? errors->messages : std::vector<std::string>{};
}

std::string write_file(const std::string& text) {
  const std::string path =
      ::testing::TempDir() + "/batchmax_load_test_" + std::to_string(::getpid()) + ".yaml";
  std::ofstream(path) << text;
  return path;
}

TEST(Load, DefaultsAreThoseOfSettings) {
  const Loaded loaded = load_or_die({});
  EXPECT_EQ(to_yaml(loaded.settings), to_yaml(Settings{}));
  for (const auto& [name, origin] : loaded.origins) EXPECT_EQ(origin, "default") << name;
}

TEST(Load, EveryPropertyRoundTripsThroughItsPrintedValue) {
  for (const Property& property : properties()) {
    Settings settings;
    const std::string value = property.get(settings);
    if (value.empty() || value == "derived") continue;
    EXPECT_EQ(property.set(settings, value), std::nullopt) << property.name;
    EXPECT_EQ(property.get(settings), value) << property.name;
  }
}

TEST(Load, FlagBeatsEnvironmentBeatsFile) {
  const std::string file = write_file("kv-budget: 512\nport: 1000\nhost: 0.0.0.0\n");
  const Loaded loaded = load_or_die({"--config", file, "--kv-budget=2048"},
                                    {{"BATCHMAX_KV_BUDGET", "640"}, {"BATCHMAX_PORT", "2000"}});
  EXPECT_EQ(loaded.settings.compression.budget, 2048);
  EXPECT_EQ(loaded.settings.port, 2000);
  EXPECT_EQ(loaded.settings.host, "0.0.0.0");
  EXPECT_EQ(loaded.origins.at("kv-budget"), "flag");
  EXPECT_EQ(loaded.origins.at("port"), "environment");
  EXPECT_EQ(loaded.origins.at("host"), "file " + file);
}

TEST(Load, ReadsAliasesListsAndByteSuffixes) {
  const Loaded loaded =
      load_or_die({"serve", "folder", "-tp", "4", "--api-key", "a,b", "--kv-cache-memory-bytes", "2GiB"});
  EXPECT_EQ(loaded.positionals, (std::vector<std::string>{"serve", "folder"}));
  EXPECT_EQ(loaded.settings.tensor_parallel_size, 4);
  EXPECT_EQ(loaded.settings.api_keys, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(loaded.settings.kv_cache_memory_bytes, 2ULL << 30);
}

TEST(Load, CollectsAllErrorsWithKeyValueAndRange) {
  const auto errors =
      errors_of({"--port", "70000", "--compression", "fast", "--kv-bugdet", "12", "--threads"},
                {{"BATCHMAX_MAX_NUM_SEQS", "many"}});
  EXPECT_THAT(errors, SizeIs(5));
  EXPECT_THAT(errors, Contains(AllOf(HasSubstr("--port"), HasSubstr("70000"), HasSubstr("0 to 65535"))));
  EXPECT_THAT(errors, Contains(AllOf(HasSubstr("--compression"), HasSubstr("off | decode | full"))));
  EXPECT_THAT(errors, Contains(AllOf(HasSubstr("--kv-bugdet"), HasSubstr("did you mean --kv-budget?"))));
  EXPECT_THAT(errors, Contains(AllOf(HasSubstr("--threads"), HasSubstr("missing"))));
  EXPECT_THAT(errors, Contains(AllOf(HasSubstr("BATCHMAX_MAX_NUM_SEQS"), HasSubstr("many"))));
}

TEST(Load, AWrongValueHidesNoRuleThatStandsWithoutIt) {
  const auto errors = errors_of({"--port", "70000", "--kv-budget", "10", "--max-num-batched-tokens", "5"});
  EXPECT_THAT(errors, SizeIs(3));
  EXPECT_THAT(errors, Contains(HasSubstr("kv_budget 10 is too small")));
  EXPECT_THAT(errors, Contains(HasSubstr("max-num-seqs + prefill-block = 320")));
  // What the budget shall be is not known: nothing is said of blocks that do not fit the default.
  EXPECT_THAT(errors_of({"--kv-budget", "many", "--prefill-block", "1000"}), SizeIs(1));
  EXPECT_THAT(errors_of({"--kv-bugdet", "4096", "--prefill-block", "1000"}), SizeIs(1));
  EXPECT_THAT(errors_of({"--prefill-block", "1000", "--kv-budget"}), SizeIs(1));
}

TEST(Load, AShortNameInTheWrongPlaceIsAnsweredWithTheLongOne) {
  EXPECT_THAT(errors_of({"--tp", "2"}), ElementsAre(HasSubstr("did you mean --tensor-parallel-size?")));
  EXPECT_THAT(errors_of({"--config", write_file("tp: 2\n")}),
              ElementsAre(HasSubstr("did you mean tensor-parallel-size?")));
}

TEST(Load, FlagsOfAListAddUp) {
  const Loaded loaded = load_or_die({"--api-key", "a,b", "--api-key=c", "--port", "1", "--port", "2"},
                                    {{"BATCHMAX_API_KEY", "of the environment"}});
  EXPECT_EQ(loaded.settings.api_keys, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(loaded.settings.port, 2);
}

TEST(Load, FileErrorsNameTheLine) {
  const std::string file = write_file("host: localhost\n\nprot: 8000\nport: [1, {a: 2}]\n");
  const auto errors = errors_of({"--config", file});
  EXPECT_THAT(errors, Contains(AllOf(HasSubstr(file + ":3: prot"), HasSubstr("did you mean port?"))));
  EXPECT_THAT(errors, Contains(HasSubstr(file + ":4: port")));
  EXPECT_THAT(errors_of({"--config", "/nowhere.yaml"}), Contains(HasSubstr("cannot read")));
  EXPECT_THAT(errors_of({"--config", "/"}), Contains(HasSubstr("cannot read")));
  EXPECT_THAT(errors_of({"--config", write_file("a: [")}), Contains(HasSubstr("not valid YAML")));
  EXPECT_THAT(errors_of({"--config", write_file("kv-budget: 600\nport: 1\nkv_budget: 700\n")}),
              ElementsAre(HasSubstr(":3: kv-budget: stands twice")));
  EXPECT_THAT(errors_of({"--config", write_file("-tp: 2\ntensor_parallel_size: 4\n")}),
              ElementsAre(HasSubstr(":2: tensor-parallel-size: stands twice")));
  for (const char* two :
       {"port: 1\n---\nport: 2\n", "---\n---\nport: 2", "port: 1\n...\nport: 2", "port: 1\r\n--- # \r\n"}) {
    EXPECT_THAT(errors_of({"--config", write_file(two)}),
                ElementsAre(HasSubstr("expected one YAML document, found more")))
        << two;
  }
  for (const char* one : {"# settings\n%YAML 1.2\n---\nport: 2\n...\n# end\n", "--- \nport: 2"}) {
    EXPECT_EQ(load_or_die({"--config", write_file(one)}).settings.port, 2) << one;
  }
  // What YAML::LoadAll never came back from.
  EXPECT_THAT(errors_of({"--config", write_file(std::string(",\0%\0\0\0\5\0\0\5", 10))}), SizeIs(0));
  EXPECT_EQ(load_or_die({"--config", write_file("")}).settings.port, 8000);
}

TEST(Load, RefusesSettingsThatContradictEachOther) {
  EXPECT_THAT(errors_of({"--prefill-block", "1024", "--kv-budget", "1024"}), SizeIs(1));
  EXPECT_THAT(errors_of({"--max-num-seqs", "64", "--max-num-batched-tokens", "100"}),
              Contains(HasSubstr("max-num-seqs + prefill-block = 320")));
}

TEST(Load, ForeignVariablesAreAWarning) {
  const Loaded loaded = load_or_die({}, {{"BATCHMAX_SERVICE_HOST", "10.0.0.1"}, {"PATH", "/bin"}});
  EXPECT_THAT(loaded.warnings, SizeIs(1));
}

TEST(Load, AVariableWithATypoIsAWarningThatNamesTheNearest) {
  const Loaded loaded = load_or_die({}, {{"BATCHMAX_KV_BUGDET", "512"}});
  EXPECT_THAT(loaded.warnings, Contains(HasSubstr("did you mean BATCHMAX_KV_BUDGET?")));
}

TEST(Load, SecretsAreNeverPrinted) {
  const Loaded loaded = load_or_die({"--api-key", "sesame"});
  EXPECT_THAT(effective_config(loaded), ::testing::Not(HasSubstr("sesame")));
  EXPECT_THAT(to_yaml(loaded.settings), ::testing::Not(HasSubstr("sesame")));
}

TEST(Load, ThePrintedConfigurationIsAFileWithEveryValueThatHolds) {
  const Loaded loaded = load_or_die({"--kv-budget", "800", "--host", "0.0.0.0"});
  const std::string printed = effective_config(loaded);
  EXPECT_THAT(printed, HasSubstr("recent: 200  # derived\n"));
  EXPECT_THAT(printed, HasSubstr("prompt-tail: 32  # derived\n"));
  EXPECT_THAT(printed, HasSubstr("kv-budget: 800  # flag\n"));
  const Loaded again = load_or_die({"--config", write_file(printed)});
  EXPECT_EQ(again.settings.compression.recent, 200);
  EXPECT_EQ(again.settings.host, "0.0.0.0");
}

TEST(Load, YamlForWorkersRestoresTheSettings) {
  const Loaded loaded =
      load_or_die({"--model", "a folder", "--kv-budget", "768", "--recent", "100", "--score", "average"});
  const Loaded again = load_or_die({"--config", write_file(to_yaml(loaded.settings))});
  EXPECT_EQ(to_yaml(again.settings), to_yaml(loaded.settings));
  EXPECT_EQ(again.settings.compression.recent, 100);
  EXPECT_EQ(shared_digest(again.settings), shared_digest(loaded.settings));
}

TEST(SharedDigest, ChangesWithWhatBothSidesMustShare) {
  Settings settings;
  settings.model = "/models/one";
  const std::string digest = shared_digest(settings);
  settings.port = 1;
  settings.model = "/elsewhere/one/";
  EXPECT_EQ(shared_digest(settings), digest);
  settings.score = "random";
  EXPECT_NE(shared_digest(settings), digest);
}

TEST(Reference, DocumentsEveryPropertyAndStandsInDocs) {
  std::ifstream stream(BATCHMAX_SOURCE_DIR "/docs/configuration.md");
  const std::string committed((std::istreambuf_iterator<char>(stream)), {});
  EXPECT_EQ(committed, reference_markdown())
      << "renew it: batchmax serve --help=markdown > docs/configuration.md";
}

}  // namespace
}  // namespace batchmax::config
