# Every target also sets up what it needs. In a new checkout, start with `make run` and `make test`.

CARGO ?= cargo
CONFIG ?= config.yaml
WASM := wasm32-wasip2

# The policies that ship, the samples in Rust, and the components that only tests load. Each becomes
# target/plugins/NAME.wasm.
PLUGINS := $(filter-out samples,$(notdir $(patsubst %/,%,$(wildcard plugins/*/))))
SAMPLES := quiet-hours-rust
DENY = PATH="$(or $(CARGO_TARGET_DIR),target)/tools/deny/bin:$$PATH" $(CARGO) deny --locked
TEST_PLUGINS := $(addprefix test-,$(notdir $(patsubst %/,%,$(wildcard tests/plugins/*/))))

.PHONY: run build deb plugins test-plugins samples test lint fmt fuzz bench microbench soak cluster stories clean wasm-target clients monitoring tracer engines databases page packaging booted libtorrent toolchains peers fuzz-tools deny deny-tools

## run: build what a first look needs and start the tracker with config.yaml
run: plugins
	$(CARGO) build --locked --workspace --bins
	target/debug/karuta run --config $(CONFIG)

# The commit that `karuta_build_info` shows. Other builds do not ask, because they would be made again
# after each commit.
build deb bench microbench soak: export KARUTA_REVISION = $(shell git rev-parse --short=12 HEAD 2>/dev/null)

# Always build the whole workspace, even for one program: for a different set of packages or targets
# cargo chooses other features of shared dependencies, and compiles wasmtime again. `samples` builds
# the tests too, because they come next.

## build: the program to serve and to measure with, target/release/karuta, and target/plugins/*.wasm
build: plugins
	$(CARGO) build --release --locked --workspace --bins

## deb: the Debian package, target/debian/karuta_VERSION_ARCHITECTURE.deb
deb: packaging build
	deploy/debian/build release "$(or $(CARGO_TARGET_DIR),target)/debian"

## plugins: the shipped policies
plugins: wasm-target
	tests/build-plugins $(PLUGINS)

test-plugins: wasm-target
	tests/build-plugins $(PLUGINS) $(SAMPLES) $(TEST_PLUGINS)

## samples: the policies of plugins/samples whose toolchain is installed
samples: wasm-target toolchains
	$(CARGO) build --locked --workspace --all-targets
	tests/build-plugins $(SAMPLES)
	tests/build-samples

# Most tests wait for a daemon most of the time.
TEST_THREADS := $(shell echo $$(($$(nproc) + 1)))

## test: all tests; tests whose tools are missing are skipped, unless CI is set
test: test-plugins samples clients monitoring tracer engines databases page booted libtorrent
	tests/build-samples test-helpers
	@# What was built goes to the disk first. Otherwise the first files of daemons wait for it.
	sync
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$(TEST_THREADS)} $(CARGO) test --locked --workspace

## lint: formatting, the imports between rooms, clippy and the dependencies; warnings are errors
lint: wasm-target deny-tools
	$(CARGO) fmt --all --check
	$(CARGO) run --quiet --locked -p karuta-rooms
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --target $(WASM) $(PLUGINS:%=-p %) $(SAMPLES:%=-p %) $(TEST_PLUGINS:%=-p %) -- -D warnings
	$(DENY) --log-level error check bans licenses sources

## deny: known vulnerabilities and duplicates among the dependencies, too
deny: deny-tools
	$(DENY) check

fmt:
	$(CARGO) fmt --all

## fuzz: every parser of untrusted bytes, for SECONDS in total
SECONDS ?= 60
fuzz: fuzz-tools
	tests/fuzz $(SECONDS)

## bench: the cost of an announce with and without policies, compared with other trackers; takes ARGS
bench: build test-plugins peers engines
	target/release/karuta-load bench $(ARGS)
	$(CARGO) bench --locked --workspace --bench token

## microbench: parsing, encoding, peer selection and policy calls, one by one; takes ARGS
microbench: test-plugins
	$(CARGO) bench --locked --workspace --bench micro -- $(ARGS)

## soak: 1200 reloads of two versions of a plugin, 200 of them under load
soak: build test-plugins
	$(CARGO) test --locked --release -p karuta-tests --test blackbox -- --ignored --nocapture soak

## cluster: three trackers that share their swarms over a cluster of six servers, load, and a few deaths
cluster: engines
	$(CARGO) build --locked --workspace --bins
	target/debug/karuta-cluster

## stories: measures what subnet preference saves in a data centre, and writes docs/stories
stories: plugins libtorrent
	$(CARGO) build --locked --workspace
	target/debug/karuta-stories docs/stories

clean:
	$(CARGO) clean

wasm-target:
	@tests/setup wasm-target

clients:
	@tests/setup clients

monitoring:
	@tests/setup monitoring

tracer:
	@tests/setup tracer

engines:
	@tests/setup cluster

databases:
	@tests/setup databases

page:
	@tests/setup page

packaging:
	@tests/setup packaging

booted:
	@tests/setup booted

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
