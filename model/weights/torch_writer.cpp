#include "model/weights/torch_writer.h"

#include <c10/core/ScalarType.h>
#include <caffe2/serialize/inline_container.h>

#include <exception>
#include <map>
#include <set>

#include "base/atomic_file.h"
#include "base/error.h"

namespace kessoku::model {

namespace {

const char* storage_class(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return "DoubleStorage";
    case at::kFloat:
      return "FloatStorage";
    case at::kHalf:
      return "HalfStorage";
    case at::kBFloat16:
      return "BFloat16Storage";
    case at::kLong:
      return "LongStorage";
    case at::kInt:
      return "IntStorage";
    case at::kShort:
      return "ShortStorage";
    case at::kChar:
      return "CharStorage";
    case at::kByte:
      return "ByteStorage";
    case at::kBool:
      return "BoolStorage";
    default:
      throw DataError(
          fmt::format("a PyTorch file cannot hold tensors of {} here", c10::toString(dtype)));
  }
}

/// Appends a pickle of protocol 2, value by value.
class Pickler {
 public:
  void text(const std::string& value) {
    data_ += 'X';
    number(static_cast<uint32_t>(value.size()));
    data_ += value;
  }
  void integer(int64_t value) {
    if (value >= 0 && value < 256) {
      data_ += 'K';
      number(static_cast<uint8_t>(value));
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
      data_ += 'J';
      number(static_cast<int32_t>(value));
    } else {
      data_ += "\x8a\x08";
      number(value);
    }
  }
  /// Written out once, then remembered.
  void global(const std::string& module, const std::string& name) {
    const auto [known, added] =
        globals_.emplace(module + "." + name, static_cast<uint32_t>(globals_.size()));
    data_ += added ? "c" + module + "\n" + name + "\nr" : "j";
    number(known->second);
  }
  void integers(at::IntArrayRef values) {
    data_ += '(';
    for (const int64_t value : values) integer(value);
    data_ += 't';
  }
  /// `ops`: single operations, as pickletools names them.
  void raw(std::string_view ops) { data_ += ops; }
  const std::string& data() const { return data_; }

 private:
  template <typename T>
  void number(T value) {
    data_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  std::string data_ = "\x80\x02";
  std::map<std::string, uint32_t> globals_;
};

std::vector<int64_t> row_major_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

/// _rebuild_tensor_v2(("storage", class, key, "cpu", count), 0, shape, strides, False,
/// OrderedDict()).
void pickle_tensor(Pickler& pickler, const TensorOutput& tensor, size_t key) {
  pickler.global("torch._utils", "_rebuild_tensor_v2");
  pickler.raw("((");
  pickler.text("storage");
  pickler.global("torch", storage_class(tensor.dtype));
  pickler.text(std::to_string(key));
  pickler.text("cpu");
  pickler.integer(static_cast<int64_t>(tensor.bytes() / c10::elementSize(tensor.dtype)));
  pickler.raw("tQ");
  pickler.integer(0);
  pickler.integers(tensor.shape);
  pickler.integers(row_major_strides(tensor.shape));
  pickler.raw("\x89");
  pickler.global("collections", "OrderedDict");
  pickler.raw(")RtR");
}

std::string pickle_content(const TorchContent& content) {
  Pickler pickler;
  std::set<std::string> seen;
  pickler.raw("}(");
  if (content.in_state_dict) {
    pickler.text("state_dict");
    pickler.raw("}(");
  }
  for (size_t i = 0; i < content.tensors.size(); ++i) {
    const TensorOutput& tensor = content.tensors[i];
    if (!seen.insert(tensor.name).second) {
      throw Error(ExitCode::kInternal, fmt::format("two tensors are called \"{}\"", tensor.name));
    }
    pickler.text(tensor.name);
    pickle_tensor(pickler, tensor, i);
  }
  if (content.in_state_dict) pickler.raw("u");
  for (const auto& [key, value] : content.texts) {
    pickler.text(key);
    pickler.text(value);
  }
  pickler.raw("u.");
  return pickler.data();
}

void write_records(caffe2::serialize::PyTorchStreamWriter& writer, const std::string& pickle,
                   const TensorOutputs& tensors) {
  const auto write_text = [&](const char* name, const std::string& text) {
    writer.writeRecord(name, text.data(), text.size());
  };
  write_text("data.pkl", pickle);
  write_text(".format_version", "1");
  write_text(".storage_alignment", "64");
  write_text("byteorder", "little");
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].write([&](std::span<const std::byte> bytes) {
      writer.writeRecord(fmt::format("data/{}", i), bytes.data(), bytes.size());
    });
  }
  writer.writeEndOfFile();
}

}  // namespace

void write_torch_file(const std::filesystem::path& path, const TorchContent& content) {
  const std::string pickle = pickle_content(content);
  AtomicFile file(path);
  std::exception_ptr failure;  // must not pass through the archive writer's C code
  try {
    caffe2::serialize::PyTorchStreamWriter writer([&](const void* data, size_t bytes) -> size_t {
      try {
        file.write({static_cast<const std::byte*>(data), bytes});
        return bytes;
      } catch (...) {
        failure = std::current_exception();
        return 0;
      }
    });
    write_records(writer, pickle, content.tensors);
  } catch (...) {
    if (failure) std::rethrow_exception(failure);
    throw;
  }
  file.commit();
}

}  // namespace kessoku::model
