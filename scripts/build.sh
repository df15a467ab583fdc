#!/usr/bin/env bash
# What `make build` does: .venv with every extra and the development tools as uv.lock names them, and the engine, optimised.
set -euo pipefail
. "$(dirname "$0")/tools.sh"

sync=("$UV" sync --frozen --all-extras --python "$PYTHON")
# The compiled engine stands in the source tree; where it is gone, what the environment remembers is not enough.
[ -e python/headwater/_engine.abi3.so ] || sync+=(--reinstall-package headwater)
# An environment of a Python that is no more cannot be repaired.
if [ -d .venv ] && ! .venv/bin/python -c '' >/dev/null 2>&1; then rm -rf .venv; fi

PATH="$PWD/.venv/bin:$PATH" "${sync[@]}"
.venv/bin/python -c 'import headwater, headwater._engine' || {
    echo "headwater was built but cannot be imported: see above" >&2
    exit 1
}
