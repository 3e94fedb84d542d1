#!/usr/bin/env bash
# Fifty SIGKILLs of `quantize` at random moments, then a disk that is too small: OUT is absent or complete, always.
#   bench/kill_trials.sh [TRIALS]
set -euo pipefail
cd "$(dirname "$0")/.."
trials=${1:-50}
work=$(mktemp -d)
mounted=""
cleanup() { [ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"; }
trap cleanup EXIT
build/make_checkpoint "$work/source" 0.3 >/dev/null

start=$(date +%s%N)
build/assay quantize "$work/source" "$work/reference" --recipe q4 --measure none >/dev/null
duration_ms=$((($(date +%s%N) - start) / 1000000))
reference=$(cd "$work/reference" && sha256sum -- * | sha256sum)

absent=0 complete=0
for ((i = 0; i < trials; i++)); do
  out="$work/out$i"
  build/assay quantize "$work/source" "$out" --recipe q4 --measure none >/dev/null 2>&1 &
  pid=$!
  delay_ms=$((RANDOM * RANDOM % (duration_ms * 11 / 10 + 1)))
  sleep "$(printf '%d.%03d' $((delay_ms / 1000)) $((delay_ms % 1000)))"
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  if [ ! -e "$out" ]; then
    absent=$((absent + 1))
  elif [ "$(cd "$out" && sha256sum -- * | sha256sum)" = "$reference" ]; then
    complete=$((complete + 1))
  else
    echo "trial $i, killed after $delay_ms ms: OUT is incomplete" >&2
    exit 1
  fi
  rm -rf "$out"
done
echo "$trials SIGKILLs within $duration_ms ms: $absent left nothing, $complete a complete directory, 0 anything else"

mkdir "$work/disk"
if mount -t tmpfs -o size=64m tmpfs "$work/disk" 2>/dev/null; then
  mounted="$work/disk"
  if message=$(build/assay quantize "$work/source" "$work/disk/out" --recipe q4 --measure none 2>&1 >/dev/null); then
    echo "quantize succeeded on a full disk" >&2
    exit 1
  fi
  [ -z "$(ls -A "$work/disk")" ] || { echo "partial output on the full disk: $(ls -A "$work/disk")" >&2; exit 1; }
  echo "disk of 64 MB: \"$message\", nothing left behind"
else
  echo "SKIPPED: the full-disk trial needs the right to mount a tmpfs"
fi
