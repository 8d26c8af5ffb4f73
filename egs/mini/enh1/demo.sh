#!/usr/bin/env bash
# What "make demo" runs: a small pre-trained upstream without a norm, with the control and with
# feature normalization. Everything goes to demo/, the table to demo/RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # rows run side by side: a thread each

exec "${FEATNORM_SE_PYTHON:-python3}" local/demo.py "$@"
