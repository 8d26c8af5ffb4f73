#!/usr/bin/env bash
# All the linters, to the end, so that one run shows everything: ruff, mypy, shellcheck.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=()
run() {
    local name=$1
    shift
    printf '== %s\n' "${name}"
    "$@" || failed+=("${name}")
}

# Every shell script that git tracks or would track; set-up's own folders are ignored there.
shell_scripts() {
    git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run |
        while IFS= read -r -d '' file; do
            # A recipe's link to the template is checked once, where it points.
            [[ -f ${file} && ! -L ${file} ]] && printf '%s\n' "${file}"
        done
}

mapfile -t scripts < <(shell_scripts)
run "ruff format" ruff format --check .
run "ruff check" ruff check .
run "mypy" mypy featnorm_se tools/check_install.py
# Each recipe's scripts are a tree of their own, as they are when they run.
for local in egs/*/*/local; do
    if compgen -G "${local}/*.py" > /dev/null; then
        MYPYPATH="${local}" run "mypy ${local}" mypy --explicit-package-bases "${local}"
    fi
done
run "shellcheck (${#scripts[@]} scripts)" shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"

if ((${#failed[@]})); then
    printf 'lint: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "lint: clean"
