#!/usr/bin/env bash
# Step 5: torchaudio's compiled extension wants CUDA's libraries; with a CPU-only torch it must go aside.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

begin "torchaudio: does it load with this torch?"
"${PY}" "${TOOLS}/installers/mend_torchaudio.py"
finish
