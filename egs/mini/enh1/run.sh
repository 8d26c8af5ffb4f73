#!/usr/bin/env bash
# Feature normalization on a corpus that needs no download. ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$0")"

upstream=(--upstream tera_small)
[[ " $* " != *" --init "* ]] || upstream=() # a finished model has its own
exec ./featnorm.sh --prepare mini "${upstream[@]}" "$@"
