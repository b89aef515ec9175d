#!/usr/bin/env bash
# Packs what a machine without network, root rights and Debian packages needs to build and test this program, such as a compute node.
#
#     scripts/bundle.sh [FILE]        default: build/kessoku-bundle.tar.xz
#
# The archive holds the tracked files as they are, Debian's headers, libraries and tools that the build needs (CMake, Ninja, pkg-config and
# Open MPI too) with their licenses, CLIP's tokenizer, and Python packages that the self-test compares with. Not in it: a C++ compiler, LibTorch,
# CUDA and NCCL; they are taken from the other machine. Run scripts/setup.sh --tests before, on Debian 12. There:
#
#     tar xf kessoku-bundle.tar.xz && kessoku-bundle/scripts/from_bundle.sh
#
# Exit code 64: something is missing here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -gt 1 ] || [[ "${1:-}" = -* ]]; then sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 64; fi
out=${1:-build/kessoku-bundle.tar.xz}
largest=60000000  # bytes: more is refused where such machines are lent

fail() { echo "bundle: $1" >&2; exit 64; }
for tool in dpkg-query patchelf ldd objdump xz git pkg-config; do
  command -v $tool >/dev/null || fail "$tool is missing: run scripts/setup.sh --tests on Debian 12"
done
[ "$(uname -m)" = x86_64 ] || fail "only for x86-64"
[ -s models/clip-tokenizer/vocab.json ] || fail "models/clip-tokenizer is missing: run scripts/setup.sh --tests"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/kessoku-bundle packed=$work/kessoku-bundle/bundle
root=$packed/root arch=x86_64-linux-gnu
libraries=/usr/lib/$arch
mkdir -p "$root" "$packed/licenses"

# put FILE...: into the root under the same name; links stay links, and what they point to comes along.
put() {
  local file folder target
  for file in "$@"; do
    folder=$(realpath "$(dirname "$file")")  # /lib is a link to /usr/lib
    file=$folder/$(basename "$file")
    [ ! -e "$root$file" ] && [ ! -L "$root$file" ] || continue
    mkdir -p "$root$folder"
    if [ -L "$file" ]; then
      target=$(realpath -m --relative-to "$folder" "$folder/$(readlink "$file")")
      [[ "$(readlink "$file")" != /* ]] || target=$(realpath --relative-to "$folder" "$file")
      ln -s "$target" "$root$file"
      put "$folder/$target"
    elif [ -d "$file" ]; then
      cp -a "$file/." "$root$file"
    elif [ -e "$file" ]; then
      cp -a "$file" "$root$file"
    fi
  done
}

# Headers and CMake's package files, of the packages that own these files (their names differ between systems).
headers=(
  /usr/include/CLI/CLI.hpp /usr/include/civetweb.h /usr/include/fmt/format.h /usr/include/gmock/gmock.h /usr/include/gtest/gtest.h
  /usr/include/hdf5/serial/hdf5.h "$libraries/openmpi/include/mpi.h" /usr/include/jpeglib.h /usr/include/glib-2.0/glib.h
  /usr/include/nlohmann/json.hpp /usr/include/prometheus/counter.h /usr/include/toml++/toml.h /usr/include/unicode/utypes.h
  /usr/include/vips/vips8 /usr/include/xxhash.h /usr/include/yaml.h /usr/include/zlib.h)
packages=()
for header in "${headers[@]}"; do
  packages+=("$(dpkg-query -S "$header" 2>/dev/null | cut -d: -f1)")
  [ -n "${packages[-1]}" ] || fail "$header is missing: run scripts/setup.sh --tests"
done
dpkg-query -L "${packages[@]}" | grep -E "^(/usr/include/|$libraries/(openmpi|glib-2.0)/include/|$libraries/cmake/|/usr/share/cmake/|$libraries/lib(gtest|gmock)\w*\.a$)" |
  sort -u | while read -r file; do
    [ -d "$file" ] && [ ! -L "$file" ] || put "$file"
  done

# Tools (civetweb only because its package file for CMake names it), and Open MPI's plugins but for those of special networks, whose libraries are many.
tools=(/usr/bin/civetweb /usr/bin/cmake /usr/bin/ninja /usr/bin/orterun /usr/bin/orted "$(realpath "$(command -v pkg-config)")")
for tool in "${tools[@]}"; do
  [ -e "$tool" ] || fail "$tool is missing: run scripts/setup.sh --tests (on Debian 12: later releases have another Open MPI)"
done
put "${tools[@]}" /usr/share/cmake-*/{Modules,Templates} /usr/share/openmpi /usr/share/javascript/chart.js/chart.min.js
mapfile -t plugins < <(find $libraries/openmpi/lib/openmpi3 $libraries/pmix2/lib/pmix -name '*.so' 2>/dev/null |
  grep -vE '/mca_(mtl|atomic|memheap|scoll|spml|sshmem)_|/mca_(btl_ofi|btl_openib|osc_ucx|pml_ucx|pml_monitoring|coll_monitoring|osc_monitoring|pmix_flux|schizo_flux)\.so')
put "${plugins[@]}"

# Libraries: those that the build links, all that CMake's package files name, and what these and the tools need. glibc and g++'s own are the other machine's.
linked=()
for name in civetweb fmt hdf5_serial icuuc icudata jpeg mpi tomlplusplus vips vips-cpp gio-2.0 gobject-2.0 glib-2.0 xxhash yaml z; do
  linked+=("$libraries/lib$name.so")
done
while read -r name; do
  [ ! -e "$libraries/$name" ] || linked+=("$libraries/$name")
done < <(grep -rhoE 'lib[A-Za-z0-9_+-]+\.so[0-9.]*' "$root$libraries/cmake" | sort -u)
for library in "${linked[@]}"; do [ -e "$library" ] || fail "$library is missing: run scripts/setup.sh --tests"; done
put "${linked[@]}"
for library in "${linked[@]}"; do  # the names under which programs look for them
  name=$(objdump -p "$library" | awk '$1 == "SONAME" {print $2}')
  [ -z "$name" ] || put "$libraries/$name"
done
ldd "${linked[@]}" "${tools[@]}" "${plugins[@]}" | awk '$2 == "=>" && $3 ~ "^/" {print $3}' | sort -u |
  grep -vE '/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|util|resolv|anl|nsl|BrokenLocale|stdc\+\+|gcc_s|gomp|atomic))\.so' |
  while read -r library; do put "$library"; done

# Each finds the others from its own place, wherever that is and whatever LD_LIBRARY_PATH says.
mapfile -t elf < <(find "$root" -type f \( -name '*.so' -o -name '*.so.*' -o -path '*/bin/*' \))
for file in "${elf[@]}"; do
  from=$(realpath --relative-to "$(dirname "$file")" "$root$libraries")
  chmod u+w "$file"
  patchelf --force-rpath --set-rpath "\$ORIGIN/$from" "$file"
done
cat >"$root/usr/bin/mpirun" <<'SCRIPT'
#!/bin/sh
# Open MPI's mpirun, from wherever the bundle lies.
prefix=$(dirname "$(dirname "$(readlink -f "$0")")")
export OPAL_PREFIX="$prefix" PMIX_INSTALL_PREFIX="$prefix/lib/x86_64-linux-gnu/pmix2"
# It does not start without a program for other hosts, even where there are none.
command -v ssh >/dev/null || command -v rsh >/dev/null || export OMPI_MCA_plm_rsh_agent="${OMPI_MCA_plm_rsh_agent:-false}"
exec "$prefix/bin/orterun" "$@"
SCRIPT
chmod 755 "$root/usr/bin/mpirun"
ln -s "$(basename "$(realpath "$(command -v pkg-config)")")" "$root/usr/bin/pkg-config" 2>/dev/null || true

# What pkg-config says, without the packages that others would need for the same.
mkdir -p "$root$libraries/pkgconfig"
for module in libjpeg libxxhash vips-cpp yaml-0.1; do
  flags=-I/usr/include
  for flag in $(pkg-config --cflags-only-I $module); do
    [ ! -d "$root${flag#-I}" ] || flags+=" $flag"
  done
  {
    printf 'prefix=${pcfiledir}/../../..\nName: %s\nDescription: %s\nVersion: %s\n' "$module" "$module" "$(pkg-config --modversion $module)"
    printf 'Cflags: %s\n' "${flags//\/usr/\$\{prefix\}}"
    printf 'Libs: -L${prefix}/lib/%s %s\n' "$arch" "$(pkg-config --libs-only-l $module)"
  } >"$root$libraries/pkgconfig/$module.pc"
done

# The least versions that the other machine must have, by the symbols that libraries and tools want of them.
newest() { objdump -T "${elf[@]}" 2>/dev/null | grep -oE "\b$1_[0-9.]+" | sort -uV | tail -n 1; }
{
  echo "glibc $(newest GLIBC | sed s/GLIBC_//)"
  echo "libstdc++ $(newest GLIBCXX)"
  echo "revision $(git describe --always --tags --dirty)"
} >"$packed/needs"

# Licenses, and where the sources are.
{
  echo "# Debian packages that files in bundle/root come from, changed in nothing but where they look for libraries (RPATH)."
  echo "# package, version, source package; the sources are in the archives of the system: $(. /etc/os-release && echo "$PRETTY_NAME")"
} >"$packed/licenses/PACKAGES"
# Debian 12 records files below /lib as such, although /lib is a link to /usr/lib.
(cd "$root" && find usr -type f ! -path '*/pkgconfig/*' ! -name mpirun -printf '/%p\n/%p\n' | sed '1~2!s,^/usr/lib/,/lib/,') >"$work/files"
{ xargs -d '\n' dpkg-query -S <"$work/files" 2>/dev/null || true; } | grep -oE '^[^ ]+: ' | tr -d ', ' | cut -d: -f1 | sort -u |
  while read -r package; do
    mkdir "$packed/licenses/$package"
    cp -L "/usr/share/doc/$package/copyright" "$packed/licenses/$package/"
    dpkg-query -W -f '${Package} ${Version} ${source:Package}\n' "$package" | head -n 1 >>"$packed/licenses/PACKAGES"
  done
cp -rL /usr/share/common-licenses "$packed/licenses/"

# What the tests compare with, as far as it is pure Python: the rest must be there.
for name in diffusers lion_pytorch; do
  mkdir -p "$packed/python/$name"
  cp -r .venv/lib/python3*/site-packages/$name .venv/lib/python3*/site-packages/$name-*.dist-info "$packed/python/$name/" 2>/dev/null ||
    fail "Python package $name is missing: run scripts/setup.sh --tests"
done
find "$packed/python" -name __pycache__ -prune -exec rm -rf {} +

git ls-files -z | grep -zv '^models/demo-base/training/' | tar -c --null -T - | tar -x -C "$tree"
mkdir -p "$tree/models"
cp -r models/clip-tokenizer "$tree/models/"

mkdir -p "$(dirname "$out")"
# Alike files beside each other compress better.
(cd "$work" && find kessoku-bundle \( -type f -o -type l \) -printf '%f\t%p\n' | awk -F'\t' '{n = split($1, part, "."); print (n > 1 ? part[2] : "") "\t" $2}' |
  sort | cut -f2 | tar -c --no-recursion --owner=0 --group=0 --numeric-owner -T -) | xz -9 >"$out.part"
mv "$out.part" "$out"
size=$(stat -c %s "$out")
[ "$size" -le $largest ] || { echo "bundle: $out has $size bytes, more than $largest" >&2; exit 1; }
echo "bundle: $out, $((size / 1000000)) MB; it needs $(sed -n '/^glibc/p;/^libstdc/p' "$packed/needs" | paste -sd, | sed 's/,/ and /') or later"
