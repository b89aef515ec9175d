#!/usr/bin/env bash
# Installs what is missing and builds the program.
#
#     scripts/setup.sh            what the demo and the program need: system packages, LibTorch, tokenizer, build/kessoku
#     scripts/setup.sh --tests    also what the tests need, and the tests themselves
#     scripts/setup.sh --device-tests   of these what the tests on GPUs need: no browser, Slurm or Prometheus
#     scripts/setup.sh --gpu      for GPUs, on a host without one: a login node, a container's build
#     scripts/setup.sh --cpu      without LibTorch's CUDA libraries, on a host with GPUs
#     scripts/setup.sh --cuda12   with an older LibTorch, for NVIDIA's drivers from 525 to 579; remembered in .venv
#
# Options may be combined. Without --gpu and --cpu it is for GPUs if nvidia-smi lists one. For Debian 12 and 13, Ubuntu
# 22.04 and 24.04 (docs/install.md). What is there already is left alone, and nothing is asked of the network for it.
# Exit code 64: something is missing that this script cannot install; it says what to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

system_packages=(
  ccache cmake fonts-noto-color-emoji hdf5-tools libcivetweb-dev libcli11-dev libfmt-dev libhdf5-dev libicu-dev libjpeg-dev libjs-chart.js
  libopenmpi-dev libtomlplusplus-dev libvips-dev libxxhash-dev libyaml-dev ninja-build nlohmann-json3-dev openmpi-bin
  pkg-config prometheus-cpp-dev unicode-data zlib1g-dev)
device_test_packages=(libgmock-dev libgtest-dev)
test_packages=("${device_test_packages[@]}" chromium clang-format clang-tidy iproute2 patchelf prometheus
  prometheus-alertmanager slurm-client slurmctld slurmd)

# What a system does not package, or not new enough, and what it calls differently: docs/install.md says what comes in
# its place.
not_packaged=()
python_packages=(python3 python3-venv)
compilers=()
system=$(. /etc/os-release 2>/dev/null && echo "${UBUNTU_CODENAME:-${VERSION_CODENAME:-}}" || true)
case "$system" in
  jammy)
    not_packaged=(chromium cmake libtomlplusplus-dev prometheus-cpp-dev)
    python_packages=(python3.11 python3.11-venv)
    system_packages+=(civetweb g++-12)  # the CMake files of libcivetweb-dev name its program
    compilers=(-DCMAKE_C_COMPILER=gcc-12 -DCMAKE_CXX_COMPILER=g++-12)
    ;;
  noble) not_packaged=(chromium) ;;
esac

with_tests=OFF
device=auto
cuda=13
[ ! -f .venv/installed-LibTorch-for-CUDA-12 ] || cuda=12
chosen_packages=()
for option in "$@"; do
  case "$option" in
    --tests) with_tests=ON; chosen_packages+=("${test_packages[@]}") ;;
    --device-tests) with_tests=ON; chosen_packages+=("${device_test_packages[@]}") ;;
    --gpu) device=gpu ;;
    --cpu) device=cpu ;;
    --cuda12) cuda=12 ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done

log=$(mktemp)
work=$(mktemp -d)
trap 'rm -rf "$log" "$work"' EXIT

# stage NAME: begins the one line that a stage prints; it ends with `there`, `finish` or `fail`.
stage() {
  began=$SECONDS
  : >"$log"
  printf 'setup: %-16s ' "$1"
}
there() { echo "already there"; }
finish() { echo "done in $((SECONDS - began)) s${1:+ ($1)}"; }
fail() {  # fail WHAT_TO_DO: shows the end of the stage's output
  echo "FAILED"
  tail -n 25 "$log" >&2
  echo "setup: $1" >&2
  exit "${2:-64}"
}
quietly() { "$@" >"$log" 2>&1 </dev/null; }

# The first Python that is new enough, if any.
find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

# Whether this system packages it.
is_packaged() { [[ " ${not_packaged[*]} " != *" $1 "* ]]; }

# The missing ones among the given packages of the system.
missing_among() {
  local package
  for package in "$@"; do
    is_packaged "$package" || continue
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_system_packages() {
  stage "system packages"
  command -v dpkg-query >/dev/null ||
    fail "this is neither Debian nor Ubuntu; install the packages listed in scripts/setup.sh by hand"
  local packages=("${system_packages[@]}" "${chosen_packages[@]}")
  [ ${#compilers[@]} != 0 ] || command -v c++ >/dev/null || packages+=(g++)
  local python
  python=$(find_python)
  if [ -z "$python" ]; then
    packages+=("${python_packages[@]}")
  elif ! .venv/bin/python -c '' 2>/dev/null && ! "$python" -c 'import ensurepip' 2>/dev/null; then
    packages+=("${python_packages[1]}")
  fi
  local missing
  mapfile -t missing < <(missing_among "${packages[@]}")
  if [ ${#missing[@]} = 0 ]; then
    there
    return
  fi
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "packages are missing and this user may not install them. Have somebody run
    apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo -n)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
  quietly "${apt[@]}" update || fail "apt-get update failed (above); see /etc/apt/sources.list and the network"
  quietly "${apt[@]}" install -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install: ${missing[*]}"
  # Tests start their own; those that the packages start are not wanted.
  local service
  for service in prometheus prometheus-alertmanager; do
    if [[ " ${missing[*]} " == *" $service "* ]] && [ -d /run/systemd/system ]; then
      quietly "${as_root[@]}" systemctl disable --now $service || true
    fi
  done
  finish "${#missing[@]} packages and what they need"
}

# Whether .venv has the LibTorch of another CUDA. Some libraries of both would lie in one folder.
has_other_libtorch() {
  [ $cuda = 12 ] && [ ! -f .venv/installed-LibTorch-for-CUDA-12 ] && compgen -G '.venv/installed-*' >/dev/null
}

make_virtual_environment() {
  stage "Python"
  if ! has_other_libtorch && .venv/bin/python -m pip --version >/dev/null 2>&1; then
    there
    return
  fi
  local python
  python=$(find_python)
  [ -n "$python" ] || fail "no Python 3.11 or later found; install one"
  quietly "$python" -m venv --clear .venv || fail "$python could not make the virtual environment .venv"
  finish
}

has_gpu() { nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

check_gpu_driver() {
  has_gpu || return 0
  stage "GPU driver"
  local version least=580 other="run this with --cuda12 for an older LibTorch, "
  [ $cuda = 13 ] || least=525
  version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>"$log" | head -n 1)
  if [[ ! "$version" =~ ^[0-9]+\. ]]; then
    fail "nvidia-smi does not tell the driver's version; see its output, or run this with --cpu"
  elif [ "${version%%.*}" -lt $least ]; then
    [ "${version%%.*}" -ge 525 ] || other=
    fail "NVIDIA's driver here is $version, and LibTorch's CUDA $cuda needs $least or later: update the driver,
    ${other}or run this with --cpu to train on CPUs"
  fi
  finish "$version"
}

# Libraries that the system does not package, into .venv, where CMake looks, too: from the sources of Ubuntu 24.04,
# which the system's own mirror has and its keys sign.
build_libraries() {
  is_packaged prometheus-cpp-dev && is_packaged libtomlplusplus-dev && return
  stage "libraries"
  if [ -f .venv/installed-libraries ]; then
    there
    return
  fi
  local mirror apt library
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: universe' | head -n 1)
  [ -n "$mirror" ] || fail "APT does not know Ubuntu's component universe: add it to /etc/apt/sources.list"
  chmod 755 "$work"
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/sources"
  echo "deb-src $mirror noble universe" >"$work/sources.list"
  apt=(apt-get -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User="$(id -un)")
  quietly "${apt[@]}" update || fail "APT could not read the list of Ubuntu 24.04's sources (above)"
  (cd "$work/sources" && quietly "${apt[@]}" source --tar-only tomlplusplus prometheus-cpp) ||
    fail "APT could not get the sources of toml++ and prometheus-cpp (above)"
  for library in tomlplusplus prometheus-cpp; do
    quietly .venv/bin/python -m tarfile -e "$work/sources/$library"_*.orig.tar.* "$work/$library" &&
      quietly cmake -S "$work/$library"/* -B "$work/build-$library" -G Ninja "${compilers[@]}" \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_INSTALL_PREFIX="$PWD/.venv" -DCMAKE_INSTALL_LIBDIR=lib -DUSE_THIRDPARTY_LIBRARIES=OFF \
        -DENABLE_PULL=OFF -DENABLE_PUSH=OFF -DENABLE_TESTING=OFF &&
      quietly ninja -C "$work/build-$library" install || fail "$library could not be built (above)" 70
  done
  touch .venv/installed-libraries
  finish
}

# install_python_packages SET PIP_ARGUMENTS...: the stamp holds a digest of the requirements that were installed.
install_python_packages() {
  local set=$1 stamp digest
  shift
  stage "$set"
  stamp=".venv/installed-${set// /-}"
  digest=$({ echo "$@"; cat scripts/requirements*.txt; } | sha256sum)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ]; then
    there
    return
  fi
  quietly .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check "$@" ||
    fail "pip could not install $set (above); with a working network to the Python package index, run this again"
  echo "$digest" >"$stamp"
  finish
}

make_tokenizer() {
  stage "CLIP tokenizer"
  local out=models/clip-tokenizer
  if [ -s $out/vocab.json ] && [ -s $out/merges.txt ] && [ -s $out/tokenizer_config.json ]; then
    there
    return
  fi
  local work
  mkdir -p models
  work=$(mktemp -d models/.fetch-XXXXXX)
  if ! quietly .venv/bin/python -m pip download --quiet --no-input --disable-pip-version-check --no-deps \
      --dest "$work" open_clip_torch==3.3.0 ||
    ! quietly .venv/bin/python scripts/clip_tokenizer.py "$work"/*.whl "$work/tokenizer"; then
    rm -rf "$work"
    fail "could not make $out out of the Python package open_clip_torch"
  fi
  chmod 755 "$work/tokenizer"
  rm -rf $out
  mv "$work/tokenizer" $out
  rm -rf "$work"
  finish
}

# Whether the build was configured for what is asked, after the last change of LibTorch. Once asked for, the tests stay.
is_configured() {
  local stamp
  [ -f build/build.ninja ] || return 1
  grep -q "^KESSOKU_TESTS:BOOL=\(ON\|$with_tests\)$" build/CMakeCache.txt || return 1
  for stamp in .venv/installed-*; do
    [ build/build.ninja -nt "$stamp" ] || return 1
  done
}

configure() {
  stage "configuration"
  if is_configured; then
    there
    return
  fi
  quietly cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DKESSOKU_TESTS=$with_tests "${compilers[@]}" ||
    fail "CMake found something wrong (above); if it names another folder or generator, remove build/ and try again"
  touch build/build.ninja  # CMake leaves it alone where nothing changed
  finish
}

build() {
  stage "build"
  local target=kessoku
  [ "$with_tests" = OFF ] || target=all
  if ninja -C build -n "$target" 2>/dev/null | grep -q "no work to do"; then
    there
    return
  fi
  if [ -t 1 ]; then  # ninja redraws one line
    echo
    ninja -C build -j "$(nproc)" "$target" || fail "the build failed (above)" 70
    printf 'setup: %-16s ' ""
  else
    quietly ninja -C build -j "$(nproc)" "$target" || fail "the build failed (above)" 70
  fi
  finish
}

[ $device = cpu ] || check_gpu_driver
if [ $device = auto ]; then
  device=cpu
  ! has_gpu || device=gpu
fi
install_system_packages
make_virtual_environment
if ! is_packaged cmake; then
  install_python_packages "CMake" cmake==3.31.10
  PATH=$PWD/.venv/bin:$PATH
fi
build_libraries
with_oracles=$with_tests
[ ! -f .venv/installed-test-oracles ] || with_oracles=ON
libtorch=(-r scripts/requirements-libtorch.txt)
[ $cuda = 13 ] || libtorch=(-r scripts/requirements-libtorch-cuda12.txt)
# Without its CUDA libraries the programs run, but Python cannot import it.
[ $device = gpu ] || [ $with_oracles = ON ] || libtorch=(--no-deps "${libtorch[@]}")
name=LibTorch
[ $cuda = 13 ] || name="LibTorch for CUDA 12"
install_python_packages "$name" "${libtorch[@]}"
if [ $with_oracles = ON ]; then
  install_python_packages "test oracles" -r scripts/requirements-tests.txt
else
  install_python_packages "Python packages" -r scripts/requirements.txt
fi
make_tokenizer
configure
build
