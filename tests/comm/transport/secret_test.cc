#include "comm/transport/secret.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <set>

namespace batchmax::comm {
namespace {

using testing::HasSubstr;

class SecretFile : public testing::Test {
 protected:
  std::string write(const std::string& text, mode_t mode = 0600) {
    path_ = testing::TempDir() + "batchmax_secret_test_" + std::to_string(::getpid());
    std::ofstream(path_, std::ios::binary) << text;
    EXPECT_EQ(::chmod(path_.c_str(), mode), 0);
    return path_;
  }
  void TearDown() override {
    if (!path_.empty()) std::remove(path_.c_str());
  }

 private:
  std::string path_;
};

std::string error_of(const std::variant<Secret, SecretError>& result) {
  return std::holds_alternative<SecretError>(result) ? std::get<SecretError>(result).message : "";
}

TEST_F(SecretFile, IsReadWithoutTheLineEnd) {
  const auto result = load_secret(write("s3cret of two words\r\n\n"), "ignored");
  EXPECT_EQ(std::get<Secret>(result).value, "s3cret of two words");
  EXPECT_EQ(std::get<Secret>(result).warning, "");
}

TEST_F(SecretFile, ThatEverybodyMayReadGetsAWarning) {
  const std::string path = write("s3cret", 0644);
  const auto result = load_secret(path, nullptr);
  EXPECT_EQ(std::get<Secret>(result).value, "s3cret");
  EXPECT_THAT(std::get<Secret>(result).warning, HasSubstr("chmod o-r " + path));
}

TEST_F(SecretFile, ThatIsEmptyIsAnErrorThatSaysWhatToDo) {
  EXPECT_THAT(error_of(load_secret(write(" \n\n"), nullptr)), HasSubstr("openssl rand -hex 32"));
}

TEST_F(SecretFile, OfAnotherKindIsAnError) {
  EXPECT_THAT(error_of(load_secret("/no/such/file", "x")), HasSubstr("No such file"));
  EXPECT_THAT(error_of(load_secret(testing::TempDir(), nullptr)), HasSubstr("is not a file"));
  EXPECT_THAT(error_of(load_secret(write(std::string(5000, 'x')), nullptr)), HasSubstr("at most 4096"));
}

TEST(SecretEnvironment, IsUsedWithoutAFile) {
  EXPECT_EQ(std::get<Secret>(load_secret("", "from there\n")).value, "from there");
  EXPECT_THAT(error_of(load_secret("", nullptr)), HasSubstr("--secret-file"));
  EXPECT_THAT(error_of(load_secret("", " ")), HasSubstr("BATCHMAX_SECRET is empty"));
}

TEST(MadeSecret, IsLongAndDiffersEachTime) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(make_secret());
  EXPECT_EQ(seen.size(), 100U);
  EXPECT_EQ(seen.begin()->size(), 64U);
}

}  // namespace
}  // namespace batchmax::comm
