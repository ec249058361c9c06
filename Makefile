# Every target also sets up what it needs. `make run` and `make test` are all that a new checkout wants.

CARGO ?= cargo
CONFIG ?= config.yaml
WASM := wasm32-wasip2

# The policies that ship, and the components that only tests load. Each becomes target/plugins/NAME.wasm, and so do the samples.
PLUGINS := $(filter-out samples,$(notdir $(patsubst %/,%,$(wildcard plugins/*/))))
SAMPLES := quiet-hours-rust
TEST_PLUGINS := $(addprefix test-,$(notdir $(patsubst %/,%,$(wildcard tests/plugins/*/))))

.PHONY: run build plugins test-plugins samples test lint fmt bench clean wasm-target clients toolchains

## run: build everything and start the tracker with config.yaml
run: build
	target/release/karuta run --config $(CONFIG)

## build: target/release/karuta and target/plugins/*.wasm
build: plugins
	$(CARGO) build --release --locked -p karuta

## plugins: the shipped policies
plugins: wasm-target
	tests/build-plugins $(PLUGINS)

test-plugins: wasm-target
	tests/build-plugins $(PLUGINS) $(SAMPLES) $(TEST_PLUGINS)

## samples: the policies of plugins/samples, each with its language's toolchain where that is there
samples: wasm-target toolchains
	$(CARGO) build --locked -p karuta
	tests/build-plugins $(SAMPLES)
	tests/build-samples

## test: all tests; with CI set, nothing is skipped
test: test-plugins samples clients
	tests/build-samples test-helpers
	$(CARGO) test --locked --workspace

## lint: formatting and clippy, warnings are errors
lint: wasm-target
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --target $(WASM) $(PLUGINS:%=-p %) $(SAMPLES:%=-p %) $(TEST_PLUGINS:%=-p %) -- -D warnings

fmt:
	$(CARGO) fmt --all

## bench: what an announce costs, without and with policies
bench: build
	$(CARGO) build --release --locked -p karuta-load
	target/release/karuta-load compare

clean:
	$(CARGO) clean

wasm-target:
	@tests/setup wasm-target

clients:
	@tests/setup clients

toolchains:
	@tests/setup toolchains
