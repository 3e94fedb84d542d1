#!/usr/bin/env bash
# Every bench that needs nothing from outside the project, in turn.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== rounding speed, one core, bf16 input, packing included"
OMP_NUM_THREADS=1 build/bench/formats_bench --benchmark_filter='Quantise|Decode'
echo "== memory of quantize"
bench/quantize_memory.sh
echo "== SIGKILL and full disk"
bench/kill_trials.sh
echo "== SIGKILLs of a calibration, resumed"
bench/resume_trials.sh
echo "== evaluation against the machine's sgemm rate"
build/assay eval models/demo --text self --max-tokens 16384
