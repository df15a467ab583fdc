#!/usr/bin/env bash
# Builds the wheel of this platform into DIR (default dist/): one file for CPython 3.11 and every later version.
# Needs what scripts/build.sh made.
set -euo pipefail
out=$(realpath -m "${1:-dist}")
cd "$(dirname "$0")/.."
[ -x .venv/bin/maturin ] || {
    echo "run \`make build\` first: .venv/bin/maturin is not here" >&2
    exit 1
}
command -v cargo >/dev/null 2>&1 || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
mkdir -p "$out"
.venv/bin/maturin build --release --locked --interpreter .venv/bin/python --out "$out"
