#!/usr/bin/env bash
# Formats everything, and applies the fixes that are safe.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all
.venv/bin/ruff check --fix --exit-zero --quiet .
.venv/bin/ruff format .
