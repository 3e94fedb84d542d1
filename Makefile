# make build     the program at build/assay
# make demo      quantise the bundled model several ways, measure each, write report.html
# make test      the test suite
# make help      everything else
.DEFAULT_GOAL := build
.PHONY: help build demo test test-asan test-arm bench bench-compare bench-roof lint format fuzz mutants proofs smollm2 install clean dependencies
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 600

help:
	@sed -n 's/^# //p' Makefile
	@printf '%s\n' \
	  'make test-asan the test suite under AddressSanitizer and UndefinedBehaviorSanitizer' \
	  'make test-arm  formats and kernels on an emulated ARM CPU' \
	  'make bench     rounding speed, evaluation rate, memory of quantize, kill and disk-full trials' \
	  'make bench-compare BASE=REVISION  this tree against a revision: seconds, memory, bytes written' \
	  'make lint      clang-format, clang-tidy, warnings of g++ and clang as errors' \
	  'make fuzz      every fuzz target for FUZZ_SECONDS (default 600) and its line coverage' \
	  'make mutants   plants faults and sees the tests that they name turn red' \
	  'make proofs    the theorems behind error feedback, checked by Coq' \
	  'make smollm2   a public model: fetch, ask, quantise, measure' \
	  'make install   to PREFIX (default /usr/local)'

dependencies:
	@scripts/install-dependencies.sh build

# The whole tree is configured once; tests and benchmarks are built only when asked for.
build/build.ninja: | dependencies
	cmake --preset release

build: build/build.ninja
	cmake --build build --target assay -j $(JOBS)

demo: build
	build/assay demo --out out/demo

test: build/build.ninja
	cmake --build build -j $(JOBS)
	ctest --test-dir build --output-on-failure -j $(JOBS)

test-asan:
	@scripts/install-dependencies.sh build sanitizers
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS)
	ctest --test-dir build/asan --output-on-failure -j $(JOBS)

test-arm:
	@scripts/install-dependencies.sh build arm
	scripts/test-arm.sh

bench: build
	cmake --preset bench
	cmake --build build -j $(JOBS)
	bench/run_all.sh

bench-roof: build
	cmake --preset bench
	cmake --build build --target assay make_checkpoint -j $(JOBS)
	bench/roof.py

bench-compare: dependencies
	@[ -n "$(BASE)" ] || { echo "BASE is missing: make bench-compare BASE=REVISION" >&2; exit 1; }
	bench/compare.py $(BASE)

lint:
	@scripts/install-dependencies.sh build lint
	scripts/lint.sh

format:
	clang-format-14 -i $$(git ls-files '*.h' '*.cpp')

fuzz:
	@scripts/install-dependencies.sh build fuzz
	scripts/fuzz.sh $(FUZZ_SECONDS)

mutants: build/build.ninja
	@scripts/install-dependencies.sh build mutants
	scripts/mutants.sh

proofs:
	@scripts/install-dependencies.sh build proofs
	$(MAKE) -C proofs check

smollm2: build
	@scripts/install-dependencies.sh build python
	scripts/smollm2.sh

install: build
	cmake --install build --prefix $(PREFIX)

clean:
	rm -rf build out
