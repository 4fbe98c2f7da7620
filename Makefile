# make run       the service on embedded storage
# make test      every test
# make check     everything that CI checks: format, lints, docs, spec drift, dependencies, tests
# make contract  requests generated from the OpenAPI document, valid and invalid, against a running instance
# make framing   odd and broken HTTP through the gateway and through nginx, on the release binary
# make lint-python  format and lints of the Python code; not in make check: ruff comes from PyPI
# make check-deploy  the manifests in deploy/, against schemas, each other and the settings; not in make check: needs a network
# make fuzz      every fuzz target for a minute (FUZZ_SECONDS=…); needs a nightly toolchain
# make fuzz-connections  10,000 generated hostile connections against instance and gateway each (HOSTILE_SEED=…, HOSTILE_CONNECTIONS=…)
# make hostile   attacks that strangers could make, beside regular users, on the release binary
# make kills     200 kills on embedded storage and 25 on PostgreSQL and Redis, each store also filled up, made read-only, frozen and cut off
# make openapi   writes openapi/openapi.json, which a test compares with the code
# make configuration  writes docs/configuration.md, which a test compares with the code
# make bench     benchmarks beside what a user would run instead
.PHONY: run test check check-deploy contract framing lint-python fuzz fuzz-connections hostile kills bench openapi configuration format lint docs deny

CARGO ?= cargo
DENY := target/tools/bin/cargo-deny
DENY_VERSION := 0.20.2

run:
	$(CARGO) run --locked

test:
	scripts/test

check: format lint docs deny test

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	$(CARGO) clippy --locked --package 'symbolon-*' --all-targets -- --deny warnings

docs:
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

deny: $(DENY)
	$(CARGO) fetch --locked
	$(DENY) --offline --workspace --all-features check bans licenses sources

$(DENY):
	$(CARGO) install --locked --root target/tools --version $(DENY_VERSION) cargo-deny

# The document that the drift test compares with.
openapi:
	$(CARGO) run --locked --quiet -- openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json

lint-python:
	scripts/lint-python

# The page that a test compares with the settings.
configuration:
	UPDATE_DOCUMENTS=1 $(CARGO) test --locked --test it the_configuration_page

contract:
	tests/contract/run

framing:
	$(CARGO) build --locked --release
	python3 tests/framing

check-deploy:
	scripts/check-deploy

fuzz:
	scripts/fuzz

fuzz-connections: HOSTILE_SEED ?= $(shell date +%s)
fuzz-connections: HOSTILE_CONNECTIONS ?= 10000
fuzz-connections:
	$(CARGO) build --locked --release
	HOSTILE_SEED=$(HOSTILE_SEED) HOSTILE_CONNECTIONS=$(HOSTILE_CONNECTIONS) TESTED_BINARY=$(CURDIR)/target/release/symbolon \
		$(CARGO) test --locked --test it hostile_connections_leave -- --nocapture --test-threads 1

hostile:
	$(CARGO) build --locked --release
	python3 -m bench hostile

# A short form is among the tests. KILLS_SEED=… repeats a run as far as timing allows; KILLS_LOG=info shows what instances log.
KILLS_EMBEDDED ?= 200
KILLS_SERVERS ?= 25
kills:
	scripts/install-test-servers
	KILLS_EMBEDDED=$(KILLS_EMBEDDED) KILLS_SERVERS=$(KILLS_SERVERS) \
		$(CARGO) test --locked --test it -- kills::acknowledged_writes --nocapture --test-threads=1

bench:
	scripts/bench
