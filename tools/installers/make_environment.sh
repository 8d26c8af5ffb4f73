#!/usr/bin/env bash
# Step 1: the Python environment. tools/venv, or the one given with PYTHON= as it is.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version_of() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo "?"; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
makes_environments() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }

# choose_python: the first of BASE_PYTHON, or of the usual names, that will do, in ${BASE}; or what to install.
choose_python() {
    local name bare="" seen=()
    for name in ${BASE_PYTHON:-python3 python3.13 python3.12 python3.11}; do
        BASE=$(command -v "${name}") || continue
        seen+=("${name} is Python $(version_of "${BASE}")")
        fits "${BASE}" || continue
        ! makes_environments "${BASE}" || return 0
        bare=${bare:-${name}}
    done
    [[ -z ${bare} ]] ||
        die "${bare} cannot make an environment: apt-get install ${bare}-venv (or choose another with BASE_PYTHON=/path/to/python)"
    die "Python 3.11, 3.12 or 3.13 is needed; $(IFS=,; echo "${seen[*]:-there is no ${BASE_PYTHON:-python3}}"). Install one, then run the same command again:
       Debian 12, 13   apt-get install python3 python3-venv
       Ubuntu 24.04    apt-get install python3.12-venv      (newer ones: conda or uv)
       Fedora          dnf install python3.13 python3.13-devel
       conda           conda create -n py313 python=3.13 && conda activate py313
       uv              uv python install 3.13, and give BASE_PYTHON=\"\$(uv python find 3.13)\""
}

check_given() {
    fits "${PY}" || die "${PY} is Python $(version_of "${PY}"): 3.11, 3.12 or 3.13 is needed (without PYTHON=, set-up makes its own environment)"
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
    if [[ -e ${TOOLS}/venv ]]; then
        say "tools/venv is unfinished or from another place: making it again"
        rm -rf "${TOOLS}/venv"
    fi
    "${BASE}" -m venv "${TOOLS}/venv"
}

begin "Python environment"
if [[ ${OWN_ENV} == 1 ]]; then
    choose_python
    make_venv
else
    [[ -x ${PY} ]] || die "${PY}: no such python (PYTHON= takes the python of an existing environment)"
    check_given
fi
say "$("${PY}" -c 'import platform, sys; print("Python", platform.python_version(), "in", sys.prefix)')"
finish
