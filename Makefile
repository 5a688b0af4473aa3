# Two commands are enough on a fresh box with gcc, make and cargo: `make run` and `make test`.

CARGO ?= cargo
ARGS ?=
PAIRS ?= 200
export CARGO

.DEFAULT_GOAL := help
.PHONY: help deps build run test soak bench aa release plugin kernels release-check fmt lint check-text clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo 'Options of the tool go in ARGS: make run ARGS="chain --programs 64,512 --trials 4"'

deps: ## install what the build needs and the host lacks
	@sh scripts/deps.sh

build: deps ## build the optimised binary
	$(CARGO) build --release --locked

run: build ## measure on this machine; the report's directory is printed last
	@sh scripts/run.sh target/release/itlbench $(ARGS)

# --show-output: libtest hides what a passing test prints, and with it why a tier was skipped.
test: deps ## run every test this host allows; the rest print SKIP and why (REQUIRE_TIER=bpf: they fail)
	$(CARGO) test --locked -- --show-output

soak: build ## test the kernel's allocator of BPF text for ten minutes (root)
	$(if $(filter 0,$(shell id -u)),,sudo )target/release/itlbench selftest --seconds 600 $(ARGS)

bench: deps ## print the budget ratios of the tool itself
	$(CARGO) bench --locked --bench ratios --bench placement --bench layout --bench selftest --bench triggers --bench run_files --bench model --bench guests

aa: build ## how often the same is called different here: PAIRS=200 A/A pairs, some 20 minutes as root; can be stopped and resumed
	@sh scripts/aa.sh target/release/itlbench aa-runs $(PAIRS)

release: ## build one static-pie binary that runs on any x86_64 Linux
	@sh scripts/release.sh

plugin: ## build the plugin that shows the iTLB model every fetch of a guest in qemu
	$(CARGO) build --release --locked --package itlbench-plugin

# The first time it fetches some 150 MB; ARGS=--refresh asks the archive for newer kernels, ARGS=--selftest tests their allocators.
kernels: release plugin ## boot Debian kernels in qemu and compare them; nothing is installed
	@bash scripts/matrix.sh target/static/itlbench target/release/libitlbench_plugin.so $(ARGS)

release-check: release ## run that binary in a bare root (ROOTFS=DIR: inside another distribution's root)
	@bash scripts/release-check.sh $(ROOTFS)

fmt: ## format the sources
	$(CARGO) fmt --all

lint: deps ## clippy with warnings as errors, with and without the kernel part, and the text rules
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --locked --all-targets --package itlbench-plugin -- -D warnings
	@sh scripts/check-text.sh

check-text: ## check the rules rustfmt does not know
	@sh scripts/check-text.sh

clean: ## remove what was built; recorded runs stay
	$(CARGO) clean
