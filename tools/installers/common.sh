# shellcheck shell=bash
# Sourced by every installer. They are called by tools/Makefile, which exports:
#   PY        the environment's python (absolute)
#   STAMP     the file that says this step is done
#   STEP      "2/4", for the step's title
#   OWN_ENV   1: the environment is tools/venv, made here; 0: it was given with PYTHON=
set -euo pipefail

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SCRATCH=

# What the caller's shell has set for other projects must not leak into this environment.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_USER PIP_PREFIX

say() { printf '       %s\n' "$*"; }

die() {
    printf 'set-up: error: %s\n' "$*" >&2
    exit 1
}

# begin TITLE: print the step's title and keep other set-ups of this checkout out until the step ends.
begin() {
    printf '[%s] %s\n' "${STEP:-?}" "$1"
    command -v flock >/dev/null || return 0
    exec 9>"${TOOLS}/.setup.lock"
    flock -n 9 && return 0
    say "another set-up of this checkout is running: waiting for it"
    flock 9
    # The other one may have done this step meanwhile.
    if [[ ${STAMP} -nt ${TOOLS}/../setup.py && ${STAMP} -nt ${TOOLS}/requirements.txt &&
        ${STAMP} -nt ${TOOLS}/requirements-py311.txt ]]; then
        say "done by the other set-up"
        exit 0
    fi
}

# finish: leave the stamp; without it the step runs again next time.
finish() {
    mkdir -p "$(dirname "${STAMP}")"
    touch "${STAMP}"
}

# scratch: a folder in ${SCRATCH} that goes away with the script.
scratch() {
    [[ -z ${SCRATCH} ]] || return 0
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "${SCRATCH}"' EXIT
}

# pip_run COMMAND [OPTION|REQUIREMENT]...: with the user's own PIP_ARGS (an index, a proxy, a cache).
pip_run() {
    local command=$1 extra=()
    shift
    read -ra extra <<<"${PIP_ARGS:-}"
    "${PY}" -m pip --disable-pip-version-check "${command}" --no-input "${extra[@]}" "$@"
}

# has_package NAME: whether the environment has this distribution.
has_package() { "${PY}" -c 'import importlib.metadata as m, sys; m.version(sys.argv[1])' "$1" 2>/dev/null; }
