# Sourced by the other scripts: finds python, cargo, a C compiler and uv, or says what is missing and how to get it.
# Sets PYTHON and UV.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

_missing=()

PYTHON=
for _candidate in ${HEADWATER_PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
    if command -v "$_candidate" >/dev/null 2>&1 &&
        "$_candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        # The interpreter itself: a shim in front of it may answer differently in another directory.
        PYTHON=$("$_candidate" -c 'import sys; print(sys.executable)')
        break
    fi
done
[ -n "$PYTHON" ] || _missing+=("Python 3.11 or newer (python3): https://www.python.org/downloads or your system's package python3")
if [ -n "$PYTHON" ] && ! "$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    _missing+=("the modules venv and ensurepip of $PYTHON: on Debian and Ubuntu the package python3-venv")
fi

if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH"
fi
if ! command -v cargo >/dev/null 2>&1; then
    _missing+=("Rust, stable 1.85 or newer (cargo): https://rustup.rs")
elif ! _cargo=$(cargo --version 2>&1); then
    _missing+=("a Rust toolchain; \`cargo --version\` says: $_cargo")
else
    _minor=$(sed -E 's/^cargo 1\.([0-9]+).*/\1/' <<<"$_cargo")
    if ! [[ $_minor =~ ^[0-9]+$ ]] || [ "$_minor" -lt 85 ]; then
        _missing+=("Rust 1.85 or newer (found: $_cargo): rustup update stable")
    fi
fi

command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ||
    _missing+=("a C compiler and linker (cc): on Debian and Ubuntu the package build-essential")

if [ ${#_missing[@]} -gt 0 ]; then
    echo "headwater cannot be built here. Missing:" >&2
    printf '  - %s\n' "${_missing[@]}" >&2
    exit 1
fi

# The certificates of this machine, as pip and cargo use them (the second name is for uv before 0.9).
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 UV_PYTHON_DOWNLOADS=never
# Chosen here, whatever environment happens to be active.
export UV_PROJECT_ENVIRONMENT=.venv
unset VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME

if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
    UV=$(command -v uv)
else
    UV=$PWD/.tools/bin/uv
    if ! "$UV" --version >/dev/null 2>&1; then
        echo "uv is not here: installing it from PyPI into .tools"
        rm -rf .tools
        "$PYTHON" -m venv .tools
        .tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
    fi
fi
