#!/usr/bin/env bash
# Installs what is missing and builds the program.
#
#     scripts/setup.sh            what the demo and the program need: Debian packages, LibTorch, tokenizer, build/kessoku
#     scripts/setup.sh --tests    also what the tests need, and the tests themselves
#     scripts/setup.sh --gpu      for GPUs, on a host without one: a login node, a container's build
#     scripts/setup.sh --cpu      without LibTorch's CUDA libraries, on a host with GPUs
#
# Options may be combined. Without --gpu and --cpu it is for GPUs if nvidia-smi lists one. For Debian 12 or later. What
# is there already is left alone, and nothing is asked of the network for it. Exit code 64: something is missing that
# this script cannot install; it says what to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(
  ccache cmake fonts-noto-color-emoji hdf5-tools libcivetweb-dev libcli11-dev libfmt-dev libhdf5-dev libicu-dev libjpeg-dev libjs-chart.js
  libopenmpi-dev libtomlplusplus-dev libvips-dev libxxhash-dev libyaml-dev ninja-build nlohmann-json3-dev openmpi-bin
  pkg-config prometheus-cpp-dev unicode-data zlib1g-dev)
test_packages=(chromium clang-format clang-tidy iproute2 libbenchmark-dev libgmock-dev libgtest-dev patchelf prometheus prometheus-alertmanager slurm-client slurmctld slurmd)

with_tests=OFF
device=auto
for option in "$@"; do
  case "$option" in
    --tests) with_tests=ON ;;
    --gpu) device=gpu ;;
    --cpu) device=cpu ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT

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

# The missing ones among the given Debian packages.
missing_among() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_debian_packages() {
  stage "Debian packages"
  command -v dpkg-query >/dev/null || fail "this is no Debian; install the packages listed in scripts/setup.sh by hand"
  [ "$with_tests" = OFF ] || packages+=("${test_packages[@]}")
  command -v c++ >/dev/null || packages+=(g++)
  local python
  python=$(find_python)
  if [ -z "$python" ]; then
    packages+=(python3 python3-venv)
  elif ! .venv/bin/python -c '' 2>/dev/null && ! "$python" -c 'import ensurepip' 2>/dev/null; then
    packages+=(python3-venv)
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

make_virtual_environment() {
  stage "Python"
  if .venv/bin/python -m pip --version >/dev/null 2>&1; then
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

# CUDA 13, which LibTorch is built for, needs this driver.
least_driver=580
check_gpu_driver() {
  has_gpu || return 0
  stage "GPU driver"
  local version
  version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>"$log" | head -n 1)
  if [[ ! "$version" =~ ^[0-9]+\. ]]; then
    fail "nvidia-smi does not tell the driver's version; see its output, or run this with --cpu"
  elif [ "${version%%.*}" -lt $least_driver ]; then
    fail "NVIDIA's driver here is $version, and LibTorch's CUDA 13 needs $least_driver or later: update the driver, or
    run this with --cpu to train on CPUs"
  fi
  finish "$version"
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
  quietly cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DKESSOKU_TESTS=$with_tests ||
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
install_debian_packages
make_virtual_environment
if [ $with_tests = ON ]; then
  install_python_packages "test oracles" -r scripts/requirements-tests.txt
elif [ -f .venv/installed-test-oracles ]; then  # they include the others
  install_python_packages "test oracles" -r scripts/requirements-tests.txt
else
  if [ $device = gpu ]; then
    install_python_packages "LibTorch" -r scripts/requirements-libtorch.txt
  else
    install_python_packages "LibTorch" --no-deps -r scripts/requirements-libtorch.txt
  fi
  install_python_packages "Python packages" -r scripts/requirements.txt
fi
make_tokenizer
configure
build
