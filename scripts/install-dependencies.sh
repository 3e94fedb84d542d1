#!/usr/bin/env bash
# Installs, by name from Debian, what the given purpose needs and the machine lacks: build (default), lint, sanitizers,
# fuzz, mutants, proofs, python, arm.
#   scripts/install-dependencies.sh --list   prints the libraries that the build needs
set -euo pipefail

tools=(g++ cmake ninja-build pkg-config ca-certificates)
libraries=(libcli11-dev nlohmann-json3-dev libfmt-dev libeigen3-dev libopenblas-openmp-dev
  libpcre2-dev libsentencepiece-dev libutf8proc-dev libssl-dev libzip-dev libboost-dev
  liburing-dev libxxhash-dev
  libgtest-dev libgmock-dev libbenchmark-dev)
lint=(clang-14 clang-format-14 clang-tidy-14 libomp-14-dev)
sanitizers=(clang-14 llvm-14 libclang-rt-14-dev libomp-14-dev)

arm=(g++-aarch64-linux-gnu qemu-user-static mmdebstrap)

if [ "${1:-}" = --list ]; then
  printf '%s\n' "${libraries[@]}"
  exit 0
fi

wanted=("${tools[@]}" "${libraries[@]}")
for purpose in "$@"; do
  case $purpose in
    build) ;;
    lint) wanted+=("${lint[@]}") ;;
    sanitizers | fuzz) wanted+=("${sanitizers[@]}") ;;
    mutants) wanted+=(patch) ;;
    proofs) wanted+=(coq python3) ;;
    python) wanted+=(python3 python3-venv) ;;
    arm) wanted+=("${arm[@]}") ;;
    *) echo "$0: unknown purpose $purpose; build, lint, sanitizers, fuzz, mutants, proofs, python or arm expected" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing: ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
  echo "$0: not root; run: apt-get install ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
