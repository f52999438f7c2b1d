# Everyday commands. `just` lists them.

_default:
    @just --list --unsorted

# Run the self-contained demo
demo:
    cargo run --release -- demo

# Run all tests of the workspace
test *ARGS:
    cargo test --workspace {{ARGS}}

# Format, lint and build the documentation, as CI does
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --locked --no-deps --document-private-items --quiet

# Everything that must pass before a change lands
ci:
    .ci/run

# Test several daemons with a real PostgreSQL
locations:
    cargo test -p llmwatch --test it -- --include-ignored locations:: locations_failures:: locations_revision:: locations_sharing:: store_backends::

# Accept changed snapshots after reading them
snapshots:
    INSTA_UPDATE=always cargo test --workspace
    git diff --stat -- '*.snap'

# Run all tests with property tests from a random seed, CASES cases each; make what it finds a named test
explore CASES="5000":
    seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') && echo "PROPTEST_RNG_SEED=$seed" && \
    PROPTEST_RNG_SEED=$seed PROPTEST_CASES={{CASES}} cargo test --release --workspace

# Measure detection on simulated worlds
bench-detection:
    cargo bench --bench detection

# Measure timings against what a server really wrote, beside curl's
bench-accuracy:
    cargo bench --bench accuracy

# Measure the cost of a probe beside a bare client
bench-cost *ARGS:
    cargo bench --bench cost -- {{ARGS}}

# Measure what one PostgreSQL has to do for many locations
bench-locations *ARGS:
    cargo bench --bench locations -- {{ARGS}}

# Probe 500 times a second for MINUTES and watch memory, files and lateness
soak MINUTES="30":
    cargo bench --bench soak -- {{MINUTES}}

# Check licenses, advisories, bans and sources of dependencies
deny:
    cargo deny check

# Test with the oldest supported Rust
msrv:
    cargo +$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1) check --workspace --all-targets --locked

# Build the release binary without paths of this machine in it
release:
    RUSTFLAGS="--remap-path-prefix=$HOME=/home --remap-path-prefix=$PWD=/llmwatch ${RUSTFLAGS:-}" cargo build --release --locked

# Build a static binary for TARGET with musl
static TARGET="x86_64-unknown-linux-musl":
    RUSTFLAGS="--remap-path-prefix=$HOME=/home --remap-path-prefix=$PWD=/llmwatch" cargo build --release --locked --target {{TARGET}}

# Build the container image from the static binary of TARGET (needs podman)
image TARGET="x86_64-unknown-linux-musl": (static TARGET)
    tar -C target/{{TARGET}}/release -czf target/llmwatch-{{TARGET}}.tar.gz llmwatch
    packaging/image-files target/llmwatch-{{TARGET}}.tar.gz
    podman build --format docker -f packaging/Containerfile -t llmwatch .

# Run the static BINARY alone on an empty, read-only root, as a container does (needs root)
bare-root BINARY="target/x86_64-unknown-linux-musl/release/llmwatch":
    tests/bare_root {{BINARY}}

# Build the Debian and RPM packages of the release binary
package: release
    packaging/build-deb
    packaging/build-rpm

# Write a software bill of materials (CycloneDX JSON) to target/llmwatch.cdx.json
sbom:
    packaging/sbom > target/llmwatch.cdx.json

# Check what a release needs: lints, tests, packages, no machine path in the binary, SBOM
release-check: lint test package deny sbom
    ! grep -aqF -e "$HOME" -e "$PWD" target/release/llmwatch
    packaging/checksums

# Check the recipes for Homebrew, Nix, Ansible and Kubernetes with their own tools
recipes:
    tests/recipes

# Run SCENARIOS of the service under a real systemd; all of them if none is named (needs root)
systemd *SCENARIOS:
    cargo build
    tests/systemd/run {{SCENARIOS}}

# Fill the disk while the daemon runs a hundred probes a second, and kill it (needs root)
disk-full-load: (systemd "disk_full_load")

# Upgrade the package OLD to NEW with an open incident, on a throw-away machine (needs root)
upgrade OLD NEW:
    tests/systemd/upgrade {{OLD}} {{NEW}}

# Build the documentation as a site into target/docs (needs mdbook) and check its links
docs:
    mdbook build docs
    tests/docs

# Make the pictures of the README anew (needs Chromium and node)
pictures:
    tests/browser/pictures

# Make pictures of the pages in many states in target/grid, for a person to look at (needs Chromium and node)
grid *SCENES:
    tests/browser/grid {{SCENES}}

# Check the workflow and template files
lint-github:
    tests/github

# Send mutated data to the release binary from every side
mutations INPUTS="200000": release
    tests/mutations/run --inputs {{INPUTS}}

# Fuzz TARGET (`all`: each of them) for SECONDS
fuzz TARGET="all" SECONDS="60":
    fuzz/run {{TARGET}} {{SECONDS}}
