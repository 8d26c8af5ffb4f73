#!/usr/bin/env bash
# All tables of conf/tables with one command: data, pre-training, rows, tables. What is done is
# not done again, so that the same command goes on after a break.
set -euo pipefail
cd "$(dirname "$0")"

# Options: each is a line "name=default  # help", and --name value sets it.
tables="claim upstreams sites norms drift"      # which, separated by spaces; claim is the short one
seeds="0 1 2 3 4"               # seeds of every row, separated by spaces
config=conf/mini_grid.yaml      # training configuration of all rows
jobs=2                          # rows at once, a thread each
ngpu=0                          # GPUs of each row, and 1 or more to pre-train on one; 0: the CPU
speech_root=                    # folder of clean speech to mix; empty: the mini corpus
noise_root=                     # folder of noise to mix; empty: the one in egs/mini/corpus
test_root=                      # test pairs: a folder with clean/ and noisy/; empty: the mini corpus's
ssl_root=                       # folders of clean speech to pre-train on, separated by spaces; empty: the mini corpus
ckpt_dir=                       # folder of tera.pt, tera_raw.pt and mockingjay.pt; empty: they are made
metrics="PESQ_WB STOI"          # metrics to score
expdir=exp/grid                 # where experiments go
datadir=data/grid               # where data directories go
dumpdir=dump/grid               # where statistics and converted audio go
output=tables                   # where the tables go
python=                         # python to use; empty: the one set up by make
dry_run=false                   # true: only say what would be run
# End of options.

prog=./grid.sh
. ./path.sh
# shellcheck disable=SC2034  # options.sh prints it
help_end="see conf/tables/README.md"
. ./options.sh
python="${python:-${FEATNORM_SE_PYTHON:-python3}}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # small models: more threads do not help them

[[ "${dry_run}" =~ ^(true|false)$ ]] || die "--dry_run is '${dry_run}', true or false is wanted"
[[ "${ngpu}" =~ ^[0-9]+$ ]] || die "--ngpu is '${ngpu}', a whole number is wanted"
device=$([ "${ngpu}" -eq 0 ] && echo cpu || echo cuda)
files=()
for table in ${tables}; do
    files+=("conf/tables/${table}.yaml")
    [ -f "conf/tables/${table}.yaml" ] || die "no such table: ${table}; there are $(cd conf/tables && echo *.yaml | sed 's/\.yaml//g')"
done
# The upstreams of which a table has pre-trained rows.
upstreams="$("${python}" -c 'import sys, yaml
rows = [row for path in sys.argv[1:] for row in yaml.safe_load(open(path, encoding="utf-8")).values()]
print(*sorted({row["upstream"] for row in rows if row.get("weights") == "pretrained"}))' "${files[@]}")"

data=(--speech_root "${speech_root}" --noise_root "${noise_root}" --test_root "${test_root}"
    --dumpdir "${dumpdir}" --metrics "${metrics}" --nj 1 --inference_nj 1)
"${dry_run}" || [ -s "${datadir}/prepare.json" ] ||
    ./run.sh "${data[@]}" --expdir "${expdir}" --datadir "${datadir}" --nj 2 --upstream tera --stop_stage 1

pretrain=false
[ -n "${ckpt_dir}" ] || pretrain=true
ckpt_dir="${ckpt_dir:-${dumpdir}/ssl}"
if "${pretrain}" && "${dry_run}"; then
    echo "to be pre-trained, unless they are there: ${upstreams}"
elif "${pretrain}"; then
    # Who validates the fine-tuning is not heard in pre-training.
    held="$("${python}" -c 'import json, sys
counts = json.load(open(sys.argv[1], encoding="utf-8"))["counts"]
print(*sorted(name for names in counts["valid"]["speakers"].values() for name in names))' "${dumpdir}/mini/mini.json")"
    mkdir -p "${ckpt_dir}"
    for upstream in ${upstreams}; do
        folder="$(realpath "${ckpt_dir}")/${upstream}"
        if [ -n "${ssl_root}" ]; then
            read -r -a roots <<< "${ssl_root}"
            ssl=(--speech_root "$(realpath "${roots[@]}" | tr '\n' ' ')" --valid_speakers "${held}")
        else
            ssl=(--speech_root "$(realpath "${dumpdir}")/mini/clean_trainset_28spk_wav" --valid_speakers "p226 p287")
        fi
        ../ssl1/run.sh --upstream "${upstream}" --device "${device}" --expdir "$(dirname "${folder}")" \
            --tag "${upstream}" --python "${python}" "${ssl[@]}"
        cp -u "${folder}/${upstream}.pt" "${ckpt_dir}/"
    done
fi

status=0
for table in ${tables}; do
    ./tables.sh --table "${table}" --dry_run "${dry_run}" --seeds "${seeds}" --config "${config}" --jobs "${jobs}" --ngpu "${ngpu}" \
        --ckpt_dir "$(realpath -m "${ckpt_dir}")" --expdir "${expdir}" --datadir "${datadir}" \
        --output "${output}" --python "${python}" -- "${data[@]}" || status=1
done
exit "${status}"
