# Every target also sets up what it needs. `make run` and `make test` are all that a new checkout wants.

CARGO ?= cargo
CONFIG ?= config.yaml
WASM := wasm32-wasip2

# The policies that ship, and the components that only tests load. Each becomes target/plugins/NAME.wasm, and so do the samples.
PLUGINS := $(filter-out samples,$(notdir $(patsubst %/,%,$(wildcard plugins/*/))))
SAMPLES := quiet-hours-rust
DENY = PATH="$(or $(CARGO_TARGET_DIR),target)/tools/deny/bin:$$PATH" $(CARGO) deny --locked
TEST_PLUGINS := $(addprefix test-,$(notdir $(patsubst %/,%,$(wildcard tests/plugins/*/))))

.PHONY: run build plugins test-plugins samples test lint fmt fuzz bench microbench soak stories clean wasm-target clients libtorrent toolchains peers fuzz-tools deny deny-tools

## run: build everything and start the tracker with config.yaml
run: build
	target/release/karuta run --config $(CONFIG)

# The whole workspace is built even for one program, and for samples with the tests, which come
# next: with fewer packages or targets cargo chooses other features for what they share, and compiles
# wasmtime twice.

## build: target/release/karuta and target/plugins/*.wasm
build: plugins
	$(CARGO) build --release --locked --workspace --bins

## plugins: the shipped policies
plugins: wasm-target
	tests/build-plugins $(PLUGINS)

test-plugins: wasm-target
	tests/build-plugins $(PLUGINS) $(SAMPLES) $(TEST_PLUGINS)

## samples: the policies of plugins/samples, each with its language's toolchain where that is there
samples: wasm-target toolchains
	$(CARGO) build --locked --workspace --all-targets
	tests/build-plugins $(SAMPLES)
	tests/build-samples

## test: all tests; with CI set, nothing is skipped
test: test-plugins samples clients libtorrent
	tests/build-samples test-helpers
	$(CARGO) test --locked --workspace

## lint: formatting, clippy and the dependencies; warnings are errors
lint: wasm-target deny-tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --target $(WASM) $(PLUGINS:%=-p %) $(SAMPLES:%=-p %) $(TEST_PLUGINS:%=-p %) -- -D warnings
	$(DENY) --log-level error check bans licenses sources

## deny: known vulnerabilities and duplicates among the dependencies, too
deny: deny-tools
	$(DENY) check

fmt:
	$(CARGO) fmt --all

## fuzz: every parser of bytes from outside, for SECONDS in all
SECONDS ?= 60
fuzz: fuzz-tools
	tests/fuzz $(SECONDS)

## bench: what an announce costs, without and with policies, here and elsewhere; takes ARGS
bench: build test-plugins peers
	target/release/karuta-load bench $(ARGS)
	$(CARGO) bench --locked --workspace --bench token

## microbench: parsing, encoding, selection and policy calls, one by one; takes ARGS
microbench: test-plugins
	$(CARGO) bench --locked --workspace --bench micro -- $(ARGS)

## soak: 1200 reloads of two versions of a plugin, 200 of them under load
soak: build test-plugins
	$(CARGO) test --locked --release -p karuta-tests --test blackbox -- --ignored --nocapture soak

## stories: what subnet preference saves in a data centre; docs/stories has the figures
stories: plugins libtorrent
	$(CARGO) build --locked --workspace
	target/debug/karuta-stories docs/stories

clean:
	$(CARGO) clean

wasm-target:
	@tests/setup wasm-target

clients:
	@tests/setup clients

libtorrent:
	@tests/setup stories

peers:
	@tests/setup peers

fuzz-tools:
	@tests/setup fuzz

deny-tools:
	@tests/setup deny

toolchains:
	@tests/setup toolchains
