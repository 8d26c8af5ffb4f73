# shellcheck shell=bash
# Sourced by every installer. They are called by tools/Makefile, which exports:
#   PY        the environment's python (absolute)
#   STAMP     the file that says this step is done
#   STEP      "3/9", for the step's title
#   OWN_ENV   1: the environment is tools/venv, made here; 0: it was given with PYTHON=
set -euo pipefail

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REQUIREMENTS=${TOOLS}/requirements.txt
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
    if [[ ${STAMP} -nt ${REQUIREMENTS} ]]; then
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
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "${SCRATCH}"' EXIT
}

# pins SECTION: the requirement lines of one section of the pinned list.
pins() {
    local lines
    lines=$(awk -v section="# [$1]" 'index($0, "# [") == 1 { on = index($0, section) == 1; next }
                                     on && NF && $0 !~ /^#/' "${REQUIREMENTS}")
    [[ -n ${lines} ]] || die "tools/requirements.txt has no section [$1]"
    printf '%s\n' "${lines}"
}

# pip_install [OPTION|REQUIREMENT]...: with the user's own PIP_ARGS (an index, a proxy, a cache).
pip_install() {
    local extra=()
    read -ra extra <<<"${PIP_ARGS:-}"
    "${PY}" -m pip --disable-pip-version-check install --no-input "${extra[@]}" "$@"
}

# pip_section SECTION [OPTION]...: exactly the pinned versions of a section, nothing else.
pip_section() {
    local section=$1 lines=()
    shift
    mapfile -t lines < <(pins "${section}")
    ((${#lines[@]})) || exit 1
    say "${#lines[@]} parts at pinned versions"
    pip_install --no-deps --no-build-isolation "$@" "${lines[@]}"
}
