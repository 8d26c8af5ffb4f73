#!/usr/bin/env bash
# What "make demo" runs: two tiny upstreams, each without and with feature normalization, through
# all stages on a corpus that is made here. Everything goes to demo/, the table to demo/RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # tiny models: more threads only slow them down

settings=(--expdir demo/exp --datadir demo/data --dumpdir demo/dump --config conf/demo.yaml --copies 1)
row=0
for upstream in tera_tiny wavlm_tiny; do
    for norm in none utterance; do
        row=$((row + 1))
        echo "== demo, row ${row} of 4: ${upstream}, norm ${norm}"
        # Stage 5 too: the page shows the inside of those that it has looked into.
        ./run.sh "${settings[@]}" --stage $((row == 1 ? 1 : 2)) \
            --upstream "${upstream}" --norm "${norm}" "$@"
    done
done
