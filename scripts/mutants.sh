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
named() { local test; test=$(field "$1" Test); echo "^${test//\*/.*}\$"; }
target() { local test; test=$(field "$1" Test); echo "test_${test%%.*}"; }

copy=$root/build/mutants/tree
rm -rf "$copy" && mkdir -p "$copy"
[ -d ../shared ] && ln -sfn "$root/../shared" build/mutants/shared
# Newer than any object of an earlier run, whose last fault may still be compiled in.
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xmf - -C "$copy"
cmake -G Ninja -S "$copy" -B build/mutants/build -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1" \
  -DASSAY_WARNINGS_AS_ERRORS=ON -DASSAY_TEST_TIMEOUT=120 >/dev/null
build() { cmake --build build/mutants/build --target "$@" -j "$(nproc)" >build/mutants/build.log 2>&1; }
run() {
  ctest --test-dir build/mutants/build -j "$(nproc)" -R "$1" --no-tests=error >build/mutants/test.log 2>&1
}

# Without any fault first: every test that a patch names is there and green.
mapfile -t targets < <(for patch in "${patches[@]}"; do target "$patch"; done | sort -u)
build "${targets[@]}" || { tail -n 20 build/mutants/build.log; echo "the tree does not build"; exit 1; }
ctest --test-dir build/mutants/build -N | sed -n 's/^ *Test *#[0-9]*: //p' >build/mutants/names
for patch in "${patches[@]}"; do
  grep -qE "$(named "$patch")" build/mutants/names || { echo "$patch: no test is called $(field "$patch" Test)"; exit 1; }
done
run "$(for patch in "${patches[@]}"; do named "$patch"; done | sort -u | paste -sd'|')" ||
  { tail -n 20 build/mutants/test.log; echo "tests are not green before any fault"; exit 1; }

killed=0 failed=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  report() { failed=$((failed + 1)); echo "FAIL  $name: $1"; }
  if ! patch -d "$copy" -p1 --dry-run -s <"$patch" >/dev/null; then report "does not apply"; continue; fi
  patch -d "$copy" -p1 -s <"$patch"
  if ! build "$(target "$patch")"; then
    report "does not compile"
  elif run "$(named "$patch")"; then
    report "SURVIVED $(field "$patch" Test)"
  elif grep -q "No tests were found" build/mutants/test.log; then
    report "no test is called $(field "$patch" Test)"
  else
    killed=$((killed + 1))
    echo "ok    $name: $(field "$patch" Fault) -> $(field "$patch" Test) red"
  fi
  patch -d "$copy" -p1 -s -R <"$patch"
done
echo "$killed faults found by their test, $failed failures, ${#patches[@]} patches"
[ "$failed" -eq 0 ]
