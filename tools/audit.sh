#!/usr/bin/env bash
# Look the pinned versions up among the known vulnerabilities, with pip-audit in an environment of its
# own: tools/audit.sh [REQUIREMENTS]; without one, that of this Python. Status 0: none is known; 1: some are; 3: they
# could not be looked up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

pip_audit="pip-audit==2.10.1"
python="${FEATNORM_SE_PYTHON:-python3}"
pins=requirements.txt
"${python}" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || pins=requirements-py311.txt
pins="${1:-${pins}}"
place="$(mktemp -d)"
trap 'rm -rf "${place}"' EXIT

cannot() {
    echo "audit: error: $1: this is no audit; run it where the package index can be reached" >&2
    exit 3
}

[ -r "${pins}" ] || cannot "${pins} cannot be read"
echo "== installing ${pip_audit}, for this run only"
"${python}" -m venv "${place}/env"
# shellcheck disable=SC2086  # PIP_ARGS are several words
"${place}/env/bin/pip" install --quiet --disable-pip-version-check ${PIP_ARGS:-} "${pip_audit}" \
    > "${place}/pip.log" 2>&1 || cannot "${pip_audit} cannot be installed ($(tail -n 1 "${place}/pip.log"))"

echo "== auditing ${pins}"
status=0
# The pins are complete, so pip need not resolve anything.
"${place}/env/bin/pip-audit" --requirement "${pins}" --no-deps --disable-pip --progress-spinner off \
    > "${place}/found" 2> "${place}/log" || status=$?
cat "${place}/found"
if [ "${status}" -ne 0 ] && [ ! -s "${place}/found" ]; then
    cannot "the lists of vulnerabilities cannot be had ($(grep -v '^ *$' "${place}/log" | tail -n 1 | cut -c1-200))"
fi
unknown="$(grep -c 'could not be audited' "${place}/found")" || true
[ "${unknown}" -eq 0 ] || cannot "${unknown} of the pins could not be looked up (see above)"
grep -v '^WARNING' "${place}/log" >&2 || true
exit "$((status > 0))"
