#!/usr/bin/env bash
# Two talkers, separated: on a corpus that needs no download. ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$0")"

start=(--upstream tera_small --config conf/separate.yaml)
[[ " $* " != *" --init "* ]] || start=() # a finished model has its own
exec ../../TEMPLATE/enh1/featnorm.sh --prepare mini --num_spk 2 "${start[@]}" "$@"
