#!/usr/bin/env bash
# Two talkers, separated: on Libri2Mix. ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$0")"

start=(--config conf/separate.yaml)
[[ " $* " != *" --init "* ]] || start=() # a finished model has its own
exec ../../TEMPLATE/enh1/featnorm.sh --prepare libri2mix --num_spk 2 "${start[@]}" "$@"
