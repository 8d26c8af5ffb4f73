#!/usr/bin/env bash
# Step 1: the Python environment. tools/venv made with BASE_PYTHON, or the one given with PYTHON= as it is.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

check_version() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || die \
        "$1 is Python $("$1" -c 'import platform; print(platform.python_version())'): 3.11 or 3.12 is needed (choose one with BASE_PYTHON=/path/to/python)"
}

check_given() {
    "${PY}" - <<'END' || die "${PY} is managed by the system's package manager: leave PYTHON= out, and set-up makes its own environment in tools/venv"
import os, sys, sysconfig
managed = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
sys.exit(sys.prefix == sys.base_prefix and os.path.exists(managed))
END
    if ! "${PY}" -m pip --version >/dev/null 2>&1; then
        say "no pip there: taking the one that Python carries"
        "${PY}" -m ensurepip --default-pip || die "${PY} has no pip and cannot install one: install pip there"
    fi
}

make_venv() {
    local venv=${TOOLS}/venv
    "${BASE_PYTHON}" -c 'import venv, ensurepip' 2>/dev/null || die \
        "${BASE_PYTHON} cannot make an environment: apt-get install python3-venv (or choose another with BASE_PYTHON=/path/to/python)"
    if [[ -e ${venv} ]]; then
        say "tools/venv is unfinished or from another place: making it again"
        rm -rf "${venv}"
    fi
    "${BASE_PYTHON}" -m venv "${venv}"
}

begin "Python environment"
if [[ ${OWN_ENV} == 1 ]]; then
    command -v "${BASE_PYTHON}" >/dev/null || die "${BASE_PYTHON}: no such python (choose one with BASE_PYTHON=/path/to/python)"
    check_version "${BASE_PYTHON}"
    make_venv
else
    [[ -x ${PY} ]] || die "${PY}: no such python (PYTHON= takes the python of an existing environment)"
    check_version "${PY}"
    check_given
fi
say "$("${PY}" -c 'import platform, sys; print("Python", platform.python_version(), "in", sys.prefix)')"
finish
