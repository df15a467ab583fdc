#!/usr/bin/env bash
# test.sh check | test | full: runs the parts of that level, prints each part's minutes, and fails if one failed.
# A part that cannot run is a failure, never a skip. All parts run, so that one look shows everything; only the build stops at once.
set -uo pipefail
level=${1:?check, test or full}
cd "$(dirname "$0")/.."

case $level in
    check) tick=0.2 budget=3 most=10m ;;
    test) tick=0.3 budget=20 most=15m ;;
    full) tick=1 budget=1800 most=3h ;;
    *)
        echo "test.sh: check, test or full, not $level" >&2
        exit 2
        ;;
esac
export HEADWATER_TICK=${HEADWATER_TICK:-$tick} HEADWATER_BUDGET=${HEADWATER_BUDGET:-$budget}
# A developer's own settings must not decide what is tested.
unset HEADWATER_URL

names=() minutes=() results=()
failed=0

part() { # part NAME COMMAND...
    local name=$1 begin=$EPOCHSECONDS code=0
    shift
    printf '\n──── %s\n' "$name"
    "$@" || code=$?
    names+=("$name")
    minutes+=("$(awk -v s=$((EPOCHSECONDS - begin)) 'BEGIN { printf "%.1f", s / 60 }')")
    if [ $code -eq 0 ]; then results+=(ok); else
        results+=("FAILED ($code)")
        failed=1
    fi
    printf '──── %s: %s minutes, %s\n' "$name" "${minutes[-1]}" "${results[-1]}"
    return $code
}

summary() {
    printf '\n%-34s %8s  %s\n' part minutes result
    local i
    for i in "${!names[@]}"; do printf '%-34s %8s  %s\n' "${names[$i]}" "${minutes[$i]}" "${results[$i]}"; done
    printf '%-34s %8s\n' "all of make $([ "$level" = full ] && echo test-full || echo "$level")" \
        "$(awk -v s=$SECONDS 'BEGIN { printf "%.1f", s / 60 }')"
}
trap summary EXIT

part "build" scripts/build.sh || exit 1

export PATH="$PWD/.venv/bin:${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
# The Python that the binding's checks are made against.
export PYO3_PYTHON=$PWD/.venv/bin/python
unset VIRTUAL_ENV PYTHONPATH

lint() {
    local code=0
    ruff check . || code=1
    pyright --warnings || code=1
    cargo fmt --all --check || code=1
    cargo clippy --locked --quiet --workspace --all-targets --all-features -- -D warnings || code=1
    return $code
}

# Two processes a part: waits run side by side. Whatever hangs ends with its part, and hides no other.
tests() {
    timeout --kill-after=30 "$most" python -m pytest --numprocesses 2 --dist worksteal --tick "$HEADWATER_TICK" --budget "$HEADWATER_BUDGET" "$@"
}

engine() { timeout --kill-after=30 "$most" cargo test --locked --quiet --package headwater-log --all-features; }

# What is quick and what most changes break comes first.
part "lint" lint
part "typing" tests tests/typing
part "unit, house, formats" tests tests/unit tests/golden tests/test_house.py tests/test_public_api.py
part "conformance on memory:" tests tests/conformance/test_list.py tests/conformance/test_memory.py
part "conformance on local:" tests tests/conformance/test_local.py
part "engine (cargo test)" engine
if [ "$level" != check ]; then
    part "snippets and examples" tests tests/test_examples.py
    part "documentation" make docs
    part "faults" tests tests/faults
    part "end to end" tests --ignore tests/e2e/test_wheel.py tests/e2e
    # In one process: two would build into the one target directory, and take the library away from each other.
    part "wheel" tests --numprocesses 0 tests/e2e/test_wheel.py
fi
exit $failed
