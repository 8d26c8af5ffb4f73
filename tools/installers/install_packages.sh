#!/usr/bin/env bash
# Step 2: this package (editable) and all that it needs, by one resolution. In tools/venv everything has the version
# of the pinned list; in an environment that was given, what is there stays and what is missing is added.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# drop_cut_packages: pip writes INSTALLER after a package's files; one without it would pass for installed.
drop_cut_packages() {
    local packages record
    packages=$("${PY}" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    for record in "${packages}"/*.dist-info; do
        [[ -d ${record} && ! -e ${record}/INSTALLER ]] || continue
        say "$(basename "${record}" .dist-info) was cut before it was whole: it will be installed again"
        rm -rf "${record}"
    done
}

# need_compiler: pesq is C and comes as source. On a Debian without python3-dev, Python's headers are fetched into a
# scratch folder, so that no root is needed.
need_compiler() {
    local mend="install Python's headers (Debian: apt-get install python3-dev) and run make setup again"
    local package headers root private=()
    command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null || die "no C compiler: apt-get install build-essential"
    ! "${PY}" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        return 0
    command -v apt-get >/dev/null || die "Python.h is missing: ${mend}"
    package=libpython${VERSION}-dev
    say "Python.h is missing: fetching ${package} into a scratch folder (no root needed)"
    root=${SCRATCH}/headers
    mkdir -p "${root}/state/lists/partial" "${root}/cache/archives/partial"
    cd "${root}"
    if ! apt-get -qq download "${package}" 2>/dev/null; then
        say "no package lists on this machine: fetching them too"
        private=(-o "Dir::State=${root}/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=${root}/cache")
        apt-get -qq "${private[@]}" update || die "the package lists could not be fetched: ${mend}"
        apt-get -qq "${private[@]}" download "${package}" || die "${package} could not be fetched: ${mend}"
    fi
    dpkg -x "${package}"_*.deb "${root}/root"
    cd - >/dev/null
    headers=$(find "${root}/root/usr/include" -maxdepth 2 -name Python.h -printf '%h\n' | head -n 1)
    [[ -n ${headers} ]] || die "the fetched package has no Python.h: ${mend}"
    # The second folder is for pyconfig.h, which includes one of its own by the machine's name.
    export CPATH=${headers}:${root}/root/usr/include${CPATH:+:${CPATH}}
}

begin "Python packages (torch is the largest download)"
scratch
VERSION=$("${PY}" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
pins=${TOOLS}/requirements.txt
more=()
if [[ ${VERSION} == 3.11 ]]; then
    # shellcheck source=tools/installers/espnet_202511.sh
    . "${TOOLS}/installers/espnet_202511.sh"
fi
if has_package s3prl; then
    die "this environment has s3prl, which owns the same import name as espnet-s3prl: ${PY} -m pip uninstall s3prl espnet-s3prl, then run make setup again"
fi
if [[ ${OWN_ENV} == 1 ]]; then
    drop_cut_packages
    "${PY}" -m pip --version >/dev/null 2>&1 || "${PY}" -m ensurepip --default-pip >/dev/null
else
    pins=${SCRATCH}/held.txt
    "${PY}" -m pip --disable-pip-version-check list --format=freeze --exclude featnorm_se >"${pins}"
    say "what is there stays as it is ($(wc -l <"${pins}") packages)"
fi
has_package pesq || need_compiler
pip_run install --constraint "${pins}" "${more[@]}" --editable "${TOOLS}/..[recipes,dev]" ||
    die "pip could not install what is needed (see above); with PYTHON=, what is there may not fit: leave PYTHON= out, and set-up makes its own environment"
[[ ${VERSION} != 3.11 ]] || install_espnet_202511
"${PY}" "${TOOLS}/installers/mend_torchaudio.py"
finish
