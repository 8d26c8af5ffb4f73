#!/usr/bin/env bash
# Step 9: this package, editable, without touching its requirements; then check every part.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

begin "featnorm_se itself, and a check of every part"
pip_install --quiet --no-deps --no-build-isolation --editable "${TOOLS}/.."
"${PY}" "${TOOLS}/check_install.py"
finish
