# Every target is a command of the README. On a fresh machine each installs what it needs.

CARGO ?= cargo
PROFILE_DIR = target/release

.PHONY: all build test demo bench bench-foreground bench-state bench-memory bench-functions soak units alerts lint doc check redis systemd prometheus clean

all: build

build:
	$(CARGO) build --release --locked

redis:
	@command -v redis-server >/dev/null 2>&1 || { \
	  echo "redis-server is missing: installing it"; \
	  SUDO=; [ "$$(id -u)" = 0 ] || SUDO=sudo; \
	  $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq redis-server >/dev/null; }

systemd:
	@command -v systemd-analyze >/dev/null 2>&1 || { \
	  echo "systemd-analyze is missing: installing it"; \
	  SUDO=; [ "$$(id -u)" = 0 ] || SUDO=sudo; \
	  $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq systemd >/dev/null; }

# Debian's package starts a server on port 9090: policy-rc.d forbids that while it is installed, and only then.
prometheus:
	@command -v promtool >/dev/null 2>&1 || { \
	  echo "promtool is missing: installing it"; \
	  SUDO=; [ "$$(id -u)" = 0 ] || SUDO=sudo; POLICY=; \
	  $$SUDO apt-get update -qq || exit 1; \
	  [ -e /usr/sbin/policy-rc.d ] || { POLICY=/usr/sbin/policy-rc.d; \
	    printf '#!/bin/sh\nexit 101\n' | $$SUDO tee $$POLICY >/dev/null; $$SUDO chmod 755 $$POLICY; }; \
	  $$SUDO apt-get install -y -qq --no-install-recommends prometheus >/dev/null; STATUS=$$?; \
	  [ -z "$$POLICY" ] || $$SUDO rm -f $$POLICY; \
	  $$SUDO systemctl disable prometheus >/dev/null 2>&1; exit $$STATUS; }

test: redis systemd prometheus
	$(CARGO) test --locked

units: systemd
	$(CARGO) test --locked --test units

alerts: prometheus
	promtool check rules config/alerts.yaml
	promtool check config config/prometheus.yaml
	promtool test rules tests/alerts/*.yaml

demo: redis build
	$(PROFILE_DIR)/reknit demo

bench: redis build
	$(CARGO) bench --locked --bench repair

bench-foreground: redis build
	$(CARGO) bench --locked --bench repair -- --foreground-only

bench-state:
	$(CARGO) bench --locked --bench state

bench-memory:
	$(CARGO) bench --locked --bench memory

bench-functions: redis build
	REKNIT=$(PROFILE_DIR)/reknit benches/functions.sh

soak: redis
	REKNIT_SEEDS=$${REKNIT_SEEDS:-20000} $(CARGO) test --release --locked --test simulation
	REKNIT_SEEDS=$${REKNIT_SEEDS:-2000} $(CARGO) test --release --locked --test undo_model
	REKNIT_SEEDS=$${REKNIT_SEEDS:-10000} $(CARGO) test --release --locked --test model
	REKNIT_ROUNDS=$${REKNIT_ROUNDS:-100} $(CARGO) test --release --locked --test rounds
	REKNIT_FIELDS=$${REKNIT_FIELDS:-5000000} REKNIT_SLOW_MS=$${REKNIT_SLOW_MS:-10} \
	  $(CARGO) test --release --locked --test large_hash -- --nocapture

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked --document-private-items

check: lint doc test
