#!/usr/bin/env bash
# Step 2: pip itself (< 26) and what builds source distributions.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# A pip that was killed while it replaced itself can mend nothing: take the one that Python carries.
restore_pip() {
    local packages
    packages=$("${PY}" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    say "pip was cut while it replaced itself: taking the one that Python carries"
    rm -rf "${packages}/pip" "${packages}"/pip-*.dist-info "${packages}"/~ip*
    "${PY}" -m ensurepip --default-pip >/dev/null
}

begin "pip and build tools"
if [[ ${OWN_ENV} == 1 ]]; then
    "${PY}" "${TOOLS}/installers/drop_cut_installs.py"
    "${PY}" -m pip install --help >/dev/null 2>&1 || restore_pip
fi
mapfile -t lines < <(pins base)
pip_install --no-deps "${lines[@]}"
finish
