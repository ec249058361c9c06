# Every target also sets up what it needs. `make run` and `make test` are all that a new checkout wants.

CARGO ?= cargo
CONFIG ?= config.yaml
WASM := wasm32-wasip2

# The policies that ship, and the components that only tests load. Each becomes target/plugins/NAME.wasm.
PLUGINS := $(notdir $(patsubst %/,%,$(wildcard plugins/*/)))
TEST_PLUGINS := $(addprefix test-,$(notdir $(patsubst %/,%,$(wildcard tests/plugins/*/))))

.PHONY: run build plugins test-plugins test lint fmt bench clean wasm-target clients peers

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
	tests/build-plugins $(PLUGINS) $(TEST_PLUGINS)

## test: all tests; with CI set, nothing is skipped
# The whole workspace is built even for one program: with fewer packages cargo chooses other
# features for what they share, and compiles wasmtime twice.
test: test-plugins clients
	$(CARGO) build --locked --workspace
	$(CARGO) test --locked --workspace

## lint: formatting and clippy, warnings are errors
lint: wasm-target
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --target $(WASM) $(PLUGINS:%=-p %) $(TEST_PLUGINS:%=-p %) -- -D warnings

fmt:
	$(CARGO) fmt --all

## bench: what an announce costs, without and with policies, here and elsewhere; takes ARGS
bench: build test-plugins peers
	$(CARGO) build --release --locked -p karuta-load
	target/release/karuta-load bench $(ARGS)

clean:
	$(CARGO) clean

wasm-target:
	@tests/setup wasm-target

clients:
	@tests/setup clients

peers:
	@tests/setup peers
