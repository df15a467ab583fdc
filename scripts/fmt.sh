#!/usr/bin/env bash
# Formats everything, and applies the fixes that are safe.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all
.venv/bin/ruff check --fix --quiet . || true
.venv/bin/ruff format .
