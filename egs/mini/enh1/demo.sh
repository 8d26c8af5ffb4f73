#!/usr/bin/env bash
# What "make demo" runs: two tiny upstreams, each without and with feature normalization, through
# all stages on a corpus that is made here. Everything goes to demo/, the table to demo/RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")"

settings=(--expdir demo/exp --datadir demo/data --dumpdir demo/dump --config conf/demo.yaml --copies 1)
row=0
for upstream in tera_tiny wavlm_tiny; do
    for norm in none utterance; do
        row=$((row + 1))
        echo "== demo, row ${row} of 4: ${upstream}, norm ${norm}"
        # With the second of an upstream the page has both.
        ./run.sh "${settings[@]}" --stage $((row == 1 ? 1 : 2)) --stop_stage $((row % 2 ? 4 : 5)) \
            --upstream "${upstream}" --norm "${norm}" "$@"
    done
done
