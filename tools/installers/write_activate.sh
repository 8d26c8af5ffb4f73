#!/usr/bin/env bash
# Not a step: tell the recipes (tools/activate_python.sh) which environment the last set-up was for.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

file=${TOOLS}/activate_python.sh
text=$(
    printf '# shellcheck shell=bash\n'
    printf '# Written by tools/Makefile; recipes source it. To change it: make setup [PYTHON=...]\n'
    printf 'export FEATNORM_SE_PYTHON=%q\n' "${PY}"
    # shellcheck disable=SC2016 # PATH is for the reader of the file to expand
    printf 'export PATH=%q:"${PATH}"\n' "$(dirname "${PY}")"
)
if [[ ! -f ${file} || $(<"${file}") != "${text}" ]]; then
    # Two set-ups may end at once: each writes a file of its own.
    printf '%s\n' "${text}" >"${file}.$$.part"
    mv -f "${file}.$$.part" "${file}"
fi
