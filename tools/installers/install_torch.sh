#!/usr/bin/env bash
# Step 3: torch first, so that nothing later brings another build of it.
# TORCH_ARGS chooses where from, e.g. TORCH_ARGS="--index-url URL" for a CUDA build.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

begin "torch and torchaudio (the largest download)"
[[ ${OWN_ENV} == 0 ]] || "${PY}" "${TOOLS}/installers/drop_cut_installs.py"
read -ra torch_args <<<"${TORCH_ARGS:-}"
torch=$(pins torch | grep '^torch==')
torchaudio=$(pins torch | grep '^torchaudio==')
# With dependencies: a CUDA build needs the CUDA libraries it names. The rest is held to our pins.
pip_install --constraint "${REQUIREMENTS}" "${torch_args[@]}" "${torch}"
pip_install --no-deps "${torch_args[@]}" "${torchaudio}"
finish
