#include "data/images/jpeg.h"

#include <ATen/ops/empty.h>

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
// After them.
#include <jpeglib.h>
// After jpeglib.h.
#include <jerror.h>

#include <array>
#include <string>

#include "base/system_error.h"

namespace kessoku::data {

namespace {

/// A few hundred bytes can ask for any number of passes over a large image.
constexpr int kMostScans = 500;

struct Failure : jpeg_error_mgr {
  std::jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message;
};

[[noreturn]] void fail(j_common_ptr info) {
  auto* failure = static_cast<Failure*>(info->err);
  failure->format_message(info, failure->message.data());
  std::longjmp(failure->jump, 1);
}

/// libjpeg goes on after damage and fills with gray; only what harms no pixel may pass.
void judge_warning(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_PROGRESSION:
      return;
    default:
      fail(info);
  }
}

void limit_scans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMostScans) {
    info->err->msg_code = JERR_BAD_PROG_SCRIPT;
    info->err->msg_parm.i[0] = kMostScans;
    fail(info);
  }
}

/// All that longjmp leaves is C's.
struct Decoder {
  Failure failure{};
  jpeg_progress_mgr progress{};
  jpeg_decompress_struct info{};

  Decoder() {
    info.err = jpeg_std_error(&failure);
    failure.error_exit = fail;
    failure.emit_message = judge_warning;
  }
  Decoder(const Decoder&) = delete;
  ~Decoder() { jpeg_destroy_decompress(&info); }

  /// The size that comes out; false with `failure.message`.
  bool begin(std::string_view bytes, int shrink) {
    if (setjmp(failure.jump) != 0) return false;
    jpeg_create_decompress(&info);
    progress.progress_monitor = limit_scans;
    info.progress = &progress;
    jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_RGB;
    info.scale_num = 1;
    info.scale_denom = static_cast<unsigned>(shrink);
    jpeg_calc_output_dimensions(&info);
    return true;
  }

  bool read(uint8_t* pixels) {
    if (setjmp(failure.jump) != 0) return false;
    jpeg_start_decompress(&info);
    const size_t stride = size_t{3} * info.output_width;
    while (info.output_scanline < info.output_height) {
      std::array<JSAMPROW, 16> rows;
      const unsigned left = info.output_height - info.output_scanline;
      const unsigned most = std::min(left, static_cast<unsigned>(rows.size()));
      for (unsigned i = 0; i < most; ++i) rows[i] = pixels + (info.output_scanline + i) * stride;
      jpeg_read_scanlines(&info, rows.data(), most);
    }
    jpeg_finish_decompress(&info);
    return true;
  }

  [[noreturn]] void give_up() const {
    const std::string reason = failure.message.data();
    if (is_machine_failure(reason)) throw SystemError(reason);
    throw DataError(reason);
  }
};

}  // namespace

at::Tensor decode_jpeg(std::string_view bytes, int64_t width, int64_t height, int shrink) {
  Decoder decoder;
  if (!decoder.begin(bytes, shrink)) decoder.give_up();
  if (decoder.info.image_width != width || decoder.info.image_height != height) {
    throw DataError("its headers contradict each other");
  }
  at::Tensor pixels =
      at::empty({decoder.info.output_height, decoder.info.output_width, 3}, at::kByte);
  if (!decoder.read(pixels.mutable_data_ptr<uint8_t>())) decoder.give_up();
  return pixels;
}

}  // namespace kessoku::data
