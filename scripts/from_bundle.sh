#!/usr/bin/env bash
# Builds the program in an unpacked bundle (scripts/bundle.sh), where there is no network, no root and none of the Debian packages.
#
#     scripts/from_bundle.sh [--stand-ins] [--configure]
#
#     --stand-ins   also what stands in for GPUs, for gpu_selftest.sh --bundle --stand-ins
#     --configure   only checks what is there and configures the build
#
# Needs on this machine: g++ 11 or later with its C library's headers (or the compiler that CXX names), and LibTorch 2.11 or later with its CUDA
# libraries: LIBTORCH_ROOT (an unpacked LibTorch, or site-packages/torch), else the torch of python3 (or of the Python that KESSOKU_PYTHON names).
# CMake, Ninja, Open MPI and all other libraries are in the bundle. Exit code 64: something is missing or too old; it says what.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

targets=(kessoku kessoku-core communicator_test gradient_reducer_test)
only_configure=no stand_ins=no
for word in "$@"; do
  case "$word" in
    --stand-ins) stand_ins=yes; targets+=(kessoku_stand_ins) ;;
    --configure) only_configure=yes ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done

fail() { echo "from_bundle: $1" >&2; exit "${2:-64}"; }
root=$PWD/bundle/root/usr libraries=$PWD/bundle/root/usr/lib/x86_64-linux-gnu
[ -r bundle/needs ] || fail "no bundle here: unpack what scripts/bundle.sh has packed, and run the script in it"
need() { sed -n "s/^$1 //p" bundle/needs; }
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }  # older THIS THAN_THIS

[ "$(uname -sm)" = "Linux x86_64" ] || fail "the bundle's libraries are for Linux on x86-64, and this is $(uname -sm)"
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
[ -n "$glibc" ] || fail "this system's C library is not glibc"
! older "$glibc" "$(need glibc)" ||
  fail "glibc is $glibc here, and the bundle's libraries need $(need glibc) or later, as in Debian 12 and Ubuntu 24.04"

compiler=${CXX:-g++}
command -v "$compiler" >/dev/null || fail "no C++ compiler: $compiler is not found (load a module, or set CXX to g++ 11 or later)"
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
cat >"$probe/probe.cpp" <<'CPP'
#include <compare>
#include <concepts>
#include <cstdio>
#include <span>
#if !defined(__clang__) && __GNUC__ < 11
#error g++ 11 or later is needed
#endif
int main() { std::puts("works"); }
CPP
[ "$("$compiler" -std=c++20 "$probe/probe.cpp" -o "$probe/probe" 2>"$probe/errors" && "$probe/probe")" = works ] ||
  fail "$compiler cannot build a C++20 program (g++ 11 or later and the C library's headers are needed): $(head -n 3 "$probe/errors")"
found=$(grep -aoE 'GLIBCXX_3\.4\.[0-9]+' "$("$compiler" -print-file-name=libstdc++.so.6)" | sort -uV | tail -n 1)
! older "$found" "$(need libstdc++)" ||
  fail "libstdc++ of $compiler has $found, and the bundle's libraries need $(need libstdc++) or later: use a later g++"

python=${KESSOKU_PYTHON:-python3}
torch=${LIBTORCH_ROOT:-}
if [ -z "$torch" ]; then
  torch=$("$python" -c 'import importlib.util; print(importlib.util.find_spec("torch").submodule_search_locations[0])' 2>/dev/null) ||
    fail "$python has no torch: set LIBTORCH_ROOT to LibTorch 2.11 or later, or KESSOKU_PYTHON to a Python that has it"
fi
[ -e "$torch/lib/libtorch_cpu.so" ] && [ -e "$torch/include/ATen/ATen.h" ] ||
  fail "no LibTorch at $torch: lib/libtorch_cpu.so or include/ATen/ATen.h is missing"
torch=$(cd "$torch" && pwd)
version=$(sed -n 's/^#define TORCH_VERSION_\(MAJOR\|MINOR\) //p' "$torch/include/torch/headeronly/version.h" 2>/dev/null | paste -sd.)
[ -n "$version" ] && ! older "$version" 2.11 || fail "LibTorch at $torch is ${version:-too old}, and 2.11 or later is needed"
echo "from_bundle: glibc $glibc, $("$compiler" -dumpfullversion 2>/dev/null || "$compiler" -dumpversion), LibTorch $version at $torch"

# Nothing of this machine's own packages: their versions are not those that the bundle was tried with.
export PATH=$root/bin:$PATH
export PKG_CONFIG_LIBDIR=$libraries/pkgconfig
unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR CPATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH LIBRARY_PATH CMAKE_PREFIX_PATH
began=$SECONDS
# CURL is asked for by prometheus-cpp's package file, for a library that is not used. LibTorch's wheels lack a header that CUDA's others
# include (crt/host_config.h), of which nccl.h needs one type: cmake/cuda_types has it.
cmake -S . -B build -G Ninja -DCMAKE_MAKE_PROGRAM="$root/bin/ninja" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release \
  -DKESSOKU_TESTS=ON -DKESSOKU_BENCH=OFF -DKESSOKU_PYTHON="$(command -v "$python" || echo /no/python)" -DKESSOKU_REVISION="$(need revision)" \
  -DLIBTORCH_ROOT="$torch" ${NCCL_ROOT:+-DNCCL_ROOT="$NCCL_ROOT"} \
  -DCMAKE_PREFIX_PATH="$root" -DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu -DPKG_CONFIG_EXECUTABLE="$root/bin/pkgconf" \
  -DCMAKE_EXE_LINKER_FLAGS="-Wl,-rpath-link,$libraries" -DCMAKE_SHARED_LINKER_FLAGS="-Wl,-rpath-link,$libraries" \
  -DMPI_C_COMPILER=MPI_C_COMPILER-NOTFOUND -DMPI_C_LIB_NAMES=mpi -DMPI_mpi_LIBRARY="$libraries/libmpi.so" \
  -DMPI_C_HEADER_DIR="$libraries/openmpi/include" -DMPIEXEC_EXECUTABLE="$root/bin/mpirun" \
  -DHDF5_C_INCLUDE_DIR="$root/include/hdf5/serial" -DHDF5_hdf5_LIBRARY_RELEASE="$libraries/libhdf5_serial.so" -DHDF5_C_COMPILER_EXECUTABLE=OFF \
  -DNCCL_CUDA_INCLUDE_DIR="$PWD/cmake/cuda_types" -DNCCL_CUDA_CRT_INCLUDE_DIR="$PWD/cmake/cuda_types" \
  -DCURL_LIBRARY="$libraries/libcurl.so.4" -DCURL_INCLUDE_DIR="$root/include" \
  -DKESSOKU_CHART_JS="$root/share/javascript/chart.js/chart.min.js" >build.log 2>&1 ||
  { tail -n 25 build.log >&2; fail "CMake found something wrong (above; all of it is in build.log)"; }
if grep -q 'Could NOT find NCCL' build.log; then
  [ $stand_ins = no ] || fail "--stand-ins need NCCL, which is not beside LibTorch: set NCCL_ROOT"
  echo "from_bundle: no NCCL beside LibTorch (set NCCL_ROOT if it is elsewhere): the program will use one GPU a run"
fi
[ $only_configure = no ] || { echo "from_bundle: configured in $((SECONDS - began)) s"; exit 0; }

# A compiler takes up to 1.5 GB.
memory=$(awk '/^MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
cores=$(nproc)
jobs=$((memory < cores ? (memory > 0 ? memory : 1) : cores))
ninja -C build -j $jobs "${targets[@]}" >>build.log 2>&1 || { tail -n 25 build.log >&2; fail "the build failed (above; all of it is in build.log)" 70; }
version=$(build/kessoku-core --version) || fail "build/kessoku-core was built but does not start (above)" 70
echo "from_bundle: $version built in $((SECONDS - began)) s with $jobs jobs"
echo "from_bundle: the program is $PWD/build/kessoku; for several ranks, put Open MPI into the PATH: export PATH=$root/bin:\$PATH"
