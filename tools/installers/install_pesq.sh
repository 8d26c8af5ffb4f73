#!/usr/bin/env bash
# Step 6: pesq is C and comes as source. Building it needs a compiler and Python's headers; on a Debian
# without python3-dev the headers are fetched into a scratch folder, so that no root is needed.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

MEND="install Python's headers (Debian: apt-get install python3-dev) and run make setup again"

have_headers() {
    "${PY}" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

# fetch_headers DIR: unpack Debian's libpythonX.Y-dev under DIR.
fetch_headers() {
    local dir=$1 package private=()
    package="lib$("${PY}" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')-dev"
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        die "Python.h is missing: ${MEND}"
    fi
    say "Python.h is missing: fetching ${package} into a scratch folder (no root needed)"
    mkdir -p "${dir}/state/lists/partial" "${dir}/cache/archives/partial"
    cd "${dir}"
    if ! apt-get -qq download "${package}" 2>/dev/null; then
        say "no package lists on this machine: fetching them too"
        private=(-o "Dir::State=${dir}/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=${dir}/cache")
        apt-get -qq "${private[@]}" update || die "the package lists could not be fetched: ${MEND}"
        apt-get -qq "${private[@]}" download "${package}" || die "${package} could not be fetched: ${MEND}"
    fi
    dpkg -x "${package}"_*.deb "${dir}/root"
    cd - >/dev/null
}

begin "pesq (built from source)"
command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null || die "no C compiler: apt-get install build-essential"
if ! have_headers; then
    scratch
    fetch_headers "${SCRATCH}"
    include=${SCRATCH}/root/usr/include
    headers=$(find "${include}" -maxdepth 2 -name Python.h -printf '%h\n' | head -n 1)
    [[ -n ${headers} ]] || die "the fetched package has no Python.h: ${MEND}"
    # The second folder is for pyconfig.h, which includes one of its own by the machine's name.
    export CPATH=${headers}:${include}${CPATH:+:${CPATH}}
fi
pip_section pesq
finish
