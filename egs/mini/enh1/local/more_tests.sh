#!/usr/bin/env bash
# Enhances and scores one more test set with trained rows: exp/<row>/scores_<name>, which
# answers.py --testset <name> reads. What is there is not done again.
#
#   local/more_tests.sh NAME NOISY CLEAN EXPERIMENT...
#
# NOISY and CLEAN are Kaldi scp files of 16 kHz audio with the same utterances.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -lt 4 ]; then
    echo "usage: local/more_tests.sh NAME NOISY CLEAN EXPERIMENT..." >&2
    exit 1
fi
# shellcheck disable=SC1091
. ./path.sh
python="${FEATNORM_SE_PYTHON:-python3}"
name=$1 noisy=$2 clean=$3
shift 3
metrics=(PESQ_WB STOI)

score() { # scp output
    [ -s "$2/summary.json" ] ||
        "${python}" -m featnorm_se.bin.score --ref "${clean}" --inf "$1" --output "$2" --metrics "${metrics[@]}"
}

# Calls that share the noisy scores make them once: the others wait.
exec 6> "$(dirname "$1")/.noisy.lock"
flock 6
score "${noisy}" "$(dirname "$1")/noisy/scores_${name}"
exec 6>&-
for experiment in "$@"; do
    [ ! -s "${experiment}/scores_${name}/summary.json" ] || continue
    echo "== ${experiment}"
    enhance=("${python}" -m featnorm_se.bin.enhance_set --model "${experiment}" --config conf/decode.yaml
        --wav_scp "${noisy}" --output "${experiment}/enhanced_${name}")
    "${enhance[@]}"
    "${enhance[@]}" --list
    score "${experiment}/enhanced_${name}/spk1.scp" "${experiment}/scores_${name}"
done
