#!/usr/bin/env bash
# Step 7: ESPnet and s3prl without their own requirements, which no resolver can meet together with torch's.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

begin "ESPnet and s3prl"
if "${PY}" -c 'import importlib.metadata as m; m.version("s3prl")' 2>/dev/null; then
    die "this environment has s3prl, which owns the same import name as espnet-s3prl: ${PY} -m pip uninstall s3prl espnet-s3prl, then run make setup again"
fi
pip_section espnet
# ESPnet imports g2p_en, which asks the network for NLTK data at every import until two files are there. We use no
# phonemes: empty stand-ins, in our own environment only, keep imports quick and quiet offline.
[[ ${OWN_ENV} == 0 ]] || "${PY}" "${TOOLS}/installers/nltk_stand_ins.py"
finish
