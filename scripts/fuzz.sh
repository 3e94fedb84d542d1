#!/usr/bin/env bash
# Runs every fuzz target for SECONDS (default 600), JOBS at a time (default: one a core), from its seeds; then prints
# the line coverage of each target's reader. A finding stops the script with the input's name. The corpus stays in build/fuzz/corpus.
#   scripts/fuzz.sh [SECONDS] [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
shift || true

# Target, and the sources whose lines it must reach.
readers() {
  case $1 in
    safetensors) echo assay/storage/safetensors_header.cpp ;;
    mlx_config) echo assay/storage/mlx.cpp assay/storage/mlx_config.cpp ;;
    assay_manifest) echo assay/storage/assay_directory.cpp assay/storage/assay_directory_manifest.cpp ;;
    lattice) echo assay/storage/lattice_file.cpp assay/storage/lattice_index.cpp ;;
    gguf) echo assay/storage/gguf_*.cpp ;;
    tokenizer_json) echo assay/tokenizer/{tokenizer_json,vocabulary,normalizer,pre_tokenizer,added_tokens}.cpp ;;
    sentencepiece) echo assay/tokenizer/{sentencepiece_guard,sentencepiece_tokenizer,protobuf_walk}.cpp ;;
    encode_text) echo assay/tokenizer/{normalizer,pre_tokenizer,split_regex,added_tokens,bpe_merges,text_budget}.cpp ;;
    token_ids) echo assay/tokenizer/token_ids.cpp ;;
    recipe) echo assay/recipes/{recipe,name_pattern}.cpp ;;
    chat_template) echo assay/tokenizer/chat_template.cpp assay/jinja/*.cpp ;;
    sensitivities) echo assay/allocation/{sensitivity_file,allocated_recipe}.cpp assay/recipes/{text_record,text_fingerprint}.cpp ;;
    resume_store) echo assay/calibration/resume_store.cpp assay/base/checksum.cpp ;;
    expert_store) echo assay/runtime/expert_store.cpp assay/storage/assay_directory.cpp assay/storage/assay_directory_manifest.cpp ;;
    ablation_rows) echo assay/ablation/{cell,verdict}.cpp ;;
    *) echo "no reader is named for fuzz target $1" >&2; return 1 ;;
  esac
}

targets=("$@")
[ ${#targets[@]} -gt 0 ] || for source in fuzz/*.cpp; do
  name=$(basename "$source" .cpp)
  [ "$name" = replay_main ] || targets+=("$name")
done
cmake --preset fuzz >/dev/null
cmake --build build/fuzz -j "$(nproc)" --target "${targets[@]/#/fuzz_}" | tail -n 1

run_target() {
  local name=$1 corpus=build/fuzz/corpus/$1 log=build/fuzz/$1.log
  mkdir -p "$corpus" build/fuzz/findings
  LLVM_PROFILE_FILE=/dev/null build/fuzz/fuzz/fuzz_"$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
    -artifact_prefix="build/fuzz/findings/$name-" "$corpus" fuzz/seeds/"$name" >"$log" 2>&1 ||
    { echo "$name: FINDING, see $log"; tail -n 30 "$log"; return 1; }
}
export -f run_target
export seconds
printf '%s\n' "${targets[@]}" | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'run_target {}'

for name in "${targets[@]}"; do
  binary=build/fuzz/fuzz/fuzz_$name
  LLVM_PROFILE_FILE=build/fuzz/$name.profraw "$binary" -runs=0 build/fuzz/corpus/"$name" fuzz/seeds/"$name" >/dev/null 2>&1
  llvm-profdata-14 merge -sparse build/fuzz/"$name".profraw -o build/fuzz/"$name".profdata
  runs=$(grep -a -o '^Done [0-9]* runs in [0-9]* second' build/fuzz/"$name".log || echo "no run")
  # shellcheck disable=SC2046
  coverage=$(llvm-cov-14 export -summary-only "$binary" -instr-profile=build/fuzz/"$name".profdata $(readers "$name") |
    grep -o '"lines":{"count":[0-9]*,"covered":[0-9]*,"percent":[0-9.]*}' | tail -n 1 |
    sed 's/.*"count":\([0-9]*\),"covered":\([0-9]*\),"percent":\([0-9.]*\).*/\2 of \1 lines (\3 %)/')
  echo "$name: $runs, no finding; covers $coverage of $(readers "$name" | xargs -n1 basename | tr '\n' ' ')"
done
