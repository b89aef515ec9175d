#pragma once

#include <c10/util/Half.h>

#include <cstdint>
#include <span>

namespace kessoku {

// Functions of many numbers, which have the same bits on every processor and with every C library:
// sums and products in one order, without fused ones. Their polynomials are those of Cephes.

/// Pairs of unit normals of pairs of random words (Box-Muller; 24 bits of each word are used), to
/// within 4e-7 of their size or 1e-7. `words` has as many as `normals`, an even number.
void make_normals(std::span<const uint32_t> words, std::span<float> normals);

/// e to the power of each of `values`, from -80 to 80, to within 2e-7 of their size.
void exponentiate(std::span<float> values);

/// What fp16 numbers stand for. `floats` has as many as `halves`.
void widen(std::span<const c10::Half> halves, std::span<float> floats);

}  // namespace kessoku
