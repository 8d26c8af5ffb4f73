#!/usr/bin/env bash
# Feature normalization on a corpus that needs no download. ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$0")"

exec ./featnorm.sh --prepare mini --upstream tera_small --copies 4 "$@"
