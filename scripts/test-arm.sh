#!/usr/bin/env bash
# The rooms up to the kernels, tested on a 64-bit ARM CPU as qemu makes it up: every format's rules, every kernel, NEON's
# among them, against float64. What is fast there no emulator can say.
set -euo pipefail
cd "$(dirname "$0")/.."
sysroot=build/arm-sysroot
libraries=usr/lib/aarch64-linux-gnu

if [ ! -e $sysroot/complete ]; then
  echo "== a Debian tree for arm64"
  rm -rf $sysroot && mkdir -p build
  mmdebstrap --quiet --architectures=arm64 --variant=extract --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include="libc6-dev $(scripts/install-dependencies.sh --list | tr '\n' ' ')" bookworm $sysroot
  # What Debian's maintainer scripts would link.
  ln -sf openblas-openmp/libopenblas.so openblas-openmp/libopenblas.so.0 $sysroot/$libraries/
  ln -sf openblas-openmp/cblas.h openblas-openmp/openblas_config.h $sysroot/usr/include/aarch64-linux-gnu/
  touch $sysroot/complete
fi

echo "== cross-compiled"
cmake --preset arm
rooms=(base formats kernels)
cmake --build --preset arm -j "$(nproc)" --target "${rooms[@]/#/test_}"
echo "== under qemu"
ctest --test-dir build/arm --output-on-failure -j "$(nproc)" -R "^($(IFS='|'; echo "${rooms[*]}"))\." --no-tests=error
