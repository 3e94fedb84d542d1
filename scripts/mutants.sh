#!/usr/bin/env bash
# Plants the faults of tests/mutants/*.patch one at a time in a copy of the tree. Each must apply, compile, and turn
# red the test that its "Test:" line names (which must be green without the fault).
#   scripts/mutants.sh [PATCH...]
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
patches=("$@")
[ ${#patches[@]} -gt 0 ] || patches=(tests/mutants/*.patch)
field() { sed -n "s/^$2: //p" "$1" | head -n 1; }

copy=$root/build/mutants/tree
rm -rf "$copy" && mkdir -p "$copy"
# Newer than any object of an earlier run, whose last fault may still be compiled in.
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xmf - -C "$copy"
cmake -G Ninja -S "$copy" -B build/mutants/build -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1" >/dev/null
build() { cmake --build build/mutants/build --target "$1" -j "$(nproc)" >build/mutants/build.log 2>&1; }
run() { ctest --test-dir build/mutants/build -R "$1" --no-tests=error >build/mutants/test.log 2>&1; }

killed=0 failed=0
for patch in "${patches[@]}"; do
  test=$(field "$patch" Test)
  target=test_${test%%.*}
  report() { failed=$((failed + 1)); echo "FAIL  $(basename "$patch"): $1"; }
  build "$target" || { report "the tree does not build before the fault"; continue; }
  run "^${test//\*/.*}\$" || { report "$test is not green before the fault"; continue; }
  if ! patch -d "$copy" -p1 --dry-run -s <"$patch" >/dev/null; then report "does not apply"; continue; fi
  patch -d "$copy" -p1 -s <"$patch"
  if ! build "$target"; then
    report "does not compile"
  elif run "^${test//\*/.*}\$"; then
    report "SURVIVED $test"
  else
    killed=$((killed + 1))
    echo "ok    $(basename "$patch" .patch): $(field "$patch" Fault) -> $test red"
  fi
  patch -d "$copy" -p1 -s -R <"$patch"
done
echo "$killed faults found by their test, $failed failures, ${#patches[@]} patches"
[ "$failed" -eq 0 ]
