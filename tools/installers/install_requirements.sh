#!/usr/bin/env bash
# Step 4: everything else from the pinned list that installs as usual.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

begin "the pinned list: run time, tests and linters"
[[ ${OWN_ENV} == 0 ]] || "${PY}" "${TOOLS}/installers/drop_cut_installs.py"
pip_section run
pip_section dev
pip_section notebook
finish
