// Untrusted model files: whatever is wrong is an error that names the place, never a read out of bounds.
#include "worker/model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace batchmax::worker {
namespace {

using ::testing::HasSubstr;

void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string safetensors(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  std::string bytes(sizeof size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  return bytes + header + data;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

class CheckpointTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string error_opening() const {
    return error_of([&] { Checkpoint checkpoint(folder_.path()); });
  }
  TemporaryFolder folder_;
};

TEST_F(CheckpointTest, ReadsPartsOfAllThreeDtypes) {
  const std::vector<float> f32{1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> f16{0x3c00, 0xc000, 0x3555,
                                  0x0001, 0x7bff, 0x8000};  // 1 -2 0.33325195 2^-24 65504 -0
  const std::vector<uint16_t> bf16{0x3f80, 0xc000, 0x3eab, 0x0001, 0x7f7f, 0x8000};
  write(path("model.safetensors"),
        safetensors(
            R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
            R"("b":{"dtype":"F16","shape":[6],"data_offsets":[24,36]},)"
            R"("c":{"dtype":"BF16","shape":[6],"data_offsets":[36,48]}})",
            bytes_of(f32) + bytes_of(f16) + bytes_of(bf16)));
  const Checkpoint checkpoint(folder_.path());
  std::vector<float> part(2);
  checkpoint.read("a", {2, 3, 0, 2, 1, 1}, kernels::DType::f32, part.data());
  EXPECT_EQ(part, (std::vector<float>{2, 5}));
  std::vector<float> halves(6);
  checkpoint.read("b", 6, 0, 6, kernels::DType::f32, halves.data());
  EXPECT_EQ(halves, (std::vector<float>{1, -2, 0.333251953125F, 0x1p-24F, 65504, -0.0F}));
  std::vector<uint16_t> same(2);
  checkpoint.read("c", 6, 2, 2, kernels::DType::bf16, same.data());
  EXPECT_EQ(same, (std::vector<uint16_t>{0x3eab, 0x0001}));
  std::vector<uint16_t> rounded(2);
  checkpoint.read("a", {2, 3, 1, 1, 0, 2}, kernels::DType::bf16, rounded.data());
  EXPECT_EQ(rounded, (std::vector<uint16_t>{0x4080, 0x40a0}));
}

TEST_F(CheckpointTest, NamesMissingTensorWrongShapeAndWrongDtype) {
  write(path("model.safetensors"), safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                               R"("i":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})",
                                               std::string(16, 'x')));
  const Checkpoint checkpoint(folder_.path());
  std::vector<float> out(8);
  const auto reading = [&](const std::string& name, int64_t all) {
    return error_of([&] { checkpoint.read(name, all, 0, all, kernels::DType::f32, out.data()); });
  };
  EXPECT_NE(reading("lm_head.weight", 2).find("lm_head.weight is in none"), std::string::npos);
  EXPECT_EQ(reading("a", 3), path("model.safetensors") + ": a: expected shape [3], found [2]");
  EXPECT_EQ(reading("i", 1), path("model.safetensors") + ": i: expected dtype F32, F16 or BF16, found I64");
  EXPECT_NE(error_of([&] {
              checkpoint.read("a", {1, 2, 0, 1, 0, 2}, kernels::DType::f32, out.data());
            }).find("expected shape [1, 2], found [2]"),
            std::string::npos);
}

TEST_F(CheckpointTest, ShardsAreFoundThroughTheIndexAndMissingOnesNamed) {
  const std::string one =
      safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", std::string(4, '\0'));
  const std::string two =
      safetensors(R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", std::string(4, '\0'));
  write(path("one.safetensors"), one);
  write(path("model.safetensors.index.json"),
        R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  EXPECT_NE(error_opening().find("two.safetensors: is missing"), std::string::npos);
  write(path("two.safetensors"), two);
  const Checkpoint checkpoint(folder_.path());
  float value = 1;
  checkpoint.read("b", 1, 0, 1, kernels::DType::f32, &value);
  EXPECT_EQ(value, 0);
  write(path("two.safetensors"), two.substr(0, two.size() - 1));
  EXPECT_NE(error_opening().find("is it truncated?"), std::string::npos);
  write(path("two.safetensors"), one);
  EXPECT_NE(error_opening().find("a: is in"), std::string::npos);
}

TEST_F(CheckpointTest, AnIndexMayNotLeaveTheFolder) {
  for (const std::string name : {"../x.safetensors", "/etc/passwd", "", ".."}) {
    write(path("model.safetensors.index.json"), R"({"weight_map":{"a":")" + name + R"("}})");
    EXPECT_NE(error_opening(), "no error") << name;
  }
  for (const std::string index : {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})"}) {
    write(path("model.safetensors.index.json"), index);
    EXPECT_NE(error_opening().find("model.safetensors.index.json: "), std::string::npos) << index;
  }
}

TEST_F(CheckpointTest, RefusesHeadersThatLie) {
  const auto tensor = [](const std::string& fields) {
    return safetensors("{\"a\":{" + fields + "}}", std::string(8, 'x'));
  };
  const std::vector<std::string> bad{
      "",
      "1234567",
      std::string(8, '\xff') + "{}",
      std::string("\x00\x00\x00\x04\x00\x00\x00\x00", 8) + "{}",  // 64 MiB
      std::string("\x03\x00\x00\x00\x00\x00\x00\x00", 8) + "{}",
      safetensors("", ""),
      safetensors("[]", ""),
      safetensors("{\"a\":1}", ""),
      safetensors("{\"a\":", ""),
      tensor(R"("dtype":"F32","shape":[2])"),
      tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0])"),
      tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
      tensor(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"),
      tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,16])"),
      tensor(R"("dtype":"F32","shape":[2],"data_offsets":[4,12])"),
      tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"),
      tensor(R"("dtype":"F32","shape":[2.5],"data_offsets":[0,8])"),
      tensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
      tensor(R"("dtype":"F99","shape":[2],"data_offsets":[0,8])"),
      tensor(R"("dtype":4,"shape":[2],"data_offsets":[0,8])"),
      // 2^33 * 2^31 * 4 wraps around to 0.
      tensor(R"("dtype":"F32","shape":[8589934592,2147483648],"data_offsets":[0,0])"),
      tensor(R"("dtype":"F32","shape":[18446744073709551615,0],"data_offsets":[0,0])"),
      tensor(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615])"),
      safetensors(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
          std::string(8, 'x')),
  };
  for (const std::string& bytes : bad) {
    write(path("model.safetensors"), bytes);
    const std::string error = error_opening();
    EXPECT_TRUE(error.starts_with(path("model.safetensors") + ": not a valid safetensors file: "))
        << error << "\n"
        << bytes;
  }
}

// Every prefix and many single-byte changes of a good file: an error or a checkpoint, nothing else.
TEST_F(CheckpointTest, SaysWhatAHeaderShouldHoldAndWhatItDoes) {
  const auto said = [&](const std::string& bytes) {
    write(path("model.safetensors"), bytes);
    return error_opening();
  };
  const auto tensor = [](const std::string& fields) {
    return safetensors("{\"a\":{" + fields + "}}", std::string(8, 'x'));
  };
  EXPECT_THAT(said("1234567"), HasSubstr("expected the header's length in the first 8 bytes"));
  EXPECT_THAT(said(std::string("\x03\x00\x00\x00\x00\x00\x00\x00", 8) + "{}"),
              HasSubstr("claims 3 bytes, expected at most 2; is it truncated?"));
  EXPECT_THAT(said(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])")),
              HasSubstr("a: data_offsets [8, 0]"));
  EXPECT_THAT(said(tensor(R"("dtype":"BF16","shape":[2],"data_offsets":[0,8])")),
              HasSubstr("a: expected 4 bytes for its shape and dtype BF16, found 8"));
}

TEST_F(CheckpointTest, SurvivesDamagedFiles) {
  const std::string good =
      safetensors(R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})", std::string(8, 'x'));
  std::vector<float> out(2);
  const auto attempt = [&](const std::string& bytes) {
    write(path("model.safetensors"), bytes);
    error_of([&] {
      Checkpoint(folder_.path()).read("a", {2, 1, 0, 2, 0, 1}, kernels::DType::f32, out.data());
    });
  };
  for (size_t length = 0; length < good.size(); ++length) attempt(good.substr(0, length));
  for (size_t at = 0; at < good.size() - 8; ++at) {
    for (const char c : {'\0', '0', '9', '"', '}', '-', '\xff'}) {
      std::string bytes = good;
      bytes[at] = c;
      attempt(bytes);
    }
  }
  attempt(good);
  EXPECT_EQ(std::memcmp(out.data(), "xxxxxxxx", 8), 0);
}

TEST_F(CheckpointTest, SaysWhatAnIndexShouldHold) {
  const std::string index = path("model.safetensors.index.json");
  write(index, "{");
  EXPECT_EQ(error_opening(), index + ": not valid JSON: incomplete JSON");
  write(index, "{}");
  EXPECT_EQ(error_opening(), index + ": weight_map: expected an object, found nothing");
  write(index, R"({"weight_map":{"a":5}})");
  EXPECT_EQ(error_opening(), index + ": weight_map: a: expected a file name, found 5");
  std::filesystem::remove(index);
  std::filesystem::create_directory(index);
  EXPECT_EQ(error_opening(), index + ": expected a file, found a folder");
}

TEST_F(CheckpointTest, NamesTensorsThatShouldNotBeThere) {
  write(path("model.safetensors"),
        safetensors(R"({"layers.1.a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                    R"("layers.10.b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                    std::string(8, '\0')));
  const Checkpoint checkpoint(folder_.path());
  EXPECT_EQ(error_of([&] { checkpoint.refuse("layers.2.", "there are two"); }), "no error");
  EXPECT_EQ(error_of([&] { checkpoint.refuse("layers.1.", "there is one"); }),
            path("model.safetensors") + ": layers.1.a: expected none, as there is one, found one");
}

TEST_F(CheckpointTest, SaysWhatAFolderShouldHold) {
  EXPECT_NE(error_opening().find("expected model.safetensors or model.safetensors.index.json, found neither"),
            std::string::npos);
  std::filesystem::create_directory(path("model.safetensors"));
  EXPECT_NE(error_opening().find("not a regular file"), std::string::npos);
}

}  // namespace
}  // namespace batchmax::worker
