#!/usr/bin/env bash
# Runs the rows of a table and gathers it: ./tables.sh --table upstreams --seeds "0 1 2". What
# follows "--" goes to every run.sh, as in: ./tables.sh -- --db_root /corpora/voicebank_demand
# Rows that are done are not run again, so that the same command goes on after a break.
set -euo pipefail
cd "$(dirname "$0")"

# Options: each is a line "name=default  # help", and --name value sets it.
table=upstreams                 # <table>.yaml in --rows: upstreams, sites, norms, drift, ...
rows=conf/tables                # folder of the tables
seeds="0"                       # seeds of every row, separated by spaces
upstream=                       # for the tables sites and norms: another upstream than their rows'
upstream_suffix=                # what goes after every upstream's name, as in _tiny
ckpt_dir=                       # folder of <upstream>.pt, or folders <upstream> of Hugging Face's, for the pre-trained rows; empty: the official ones
config=conf/train.yaml          # training configuration of rows that name none
jobs=1                          # rows at once; they share the cores; each takes --ngpu GPUs that are free
ngpu=0                          # GPUs of each row; 0: the CPU
expdir=exp                      # where experiments go
datadir=data                    # where data directories are
test_set="test"                 # name of the test set, a folder in --datadir
output=tables                   # where <table>.md, .csv and .tex go
python=                         # python to use; empty: the one set up by make
dry_run=false                   # true: only say what would be run
# End of options.

own=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    own+=("$1")
    shift
done
[ $# -eq 0 ] || shift
run_options=("$@")
set -- "${own[@]}"

prog=./tables.sh
. ./path.sh
# shellcheck disable=SC2034  # options.sh prints it
help_end='after "--": options of run.sh for every row'
. ./options.sh
. ./cmd.sh
for word in "${run_options[@]}"; do # of two, the one of the row would count
    [[ "${word}" =~ ^--[a-z_-]+$ ]] || continue
    word="${word//-/_}" word="--${word#__}"
    [[ ! -v "option_help[${word#--}]" ]] || die "${word} goes before --: it is an option of ${prog}"
    [[ ! "${word}" =~ ^--(upstream_ckpt|init|norm|norm_site|seed|tag|stage|stop_stage|num_nodes)$ ]] || die "${word} after --: the rows and --seeds say it"
done
python="${python:-${FEATNORM_SE_PYTHON:-python3}}"
[[ "${jobs}" =~ ^[1-9][0-9]*$ ]] || die "--jobs is '${jobs}', a whole number from 1 on is wanted"
[[ "${ngpu}" =~ ^[0-9]+$ ]] || die "--ngpu is '${ngpu}', a whole number is wanted"
[[ "${dry_run}" =~ ^(true|false)$ ]] || die "--dry_run is '${dry_run}', true or false is wanted"
check_places expdir table test_set
[ "${test_set}" = test ] || [ -s "${datadir}/${test_set}/wav.scp" ] || die "--test_set ${test_set}: there is no ${datadir}/${test_set}; stage 1 of run.sh makes it"

tables=("${python}" "${MAIN_ROOT}/egs/TEMPLATE/enh1/local/tables.py" --rows "${rows}" --table "${table}" --seeds "${seeds}"
    --upstream "${upstream}" --upstream_suffix "${upstream_suffix}" --ckpt_dir "${ckpt_dir}"
    --config "${config}" --expdir "${expdir}" --datadir "${datadir}" --test_set "${test_set}" --output "${output}" --ngpu "${ngpu}")
share=()
if [ "${jobs}" -gt 1 ] && [ "${job_cmd}" = run.pl ]; then
    cores="$(($(env -u OMP_NUM_THREADS nproc) / jobs))"
    export OMP_THREAD_LIMIT=$((cores > 0 ? cores : 1))
    share=(--nj $((cores > 1 ? 2 : 1)) --inference_nj $((cores > 1 ? 2 : 1)))
fi
common=("${share[@]}" "${run_options[@]}" --python "${python}" --expdir "${expdir}" --datadir "${datadir}" --test_set "${test_set}" --ngpu "${ngpu}")
work="${expdir}/tables/${table}"
[ "${test_set}" = test ] || work+="_${test_set}"
gpu_option=()
[ "${ngpu}" -eq 0 ] || gpu_option=(--gpu "${ngpu}")

plan="$(mktemp -d)"
trap 'rm -rf "${plan}"' EXIT
trap 'echo "${prog}: error: interrupted: the same command again goes on" >&2; exit 130' INT
"${tables[@]}" --plan "${plan}/plan.json" -- "${common[@]}" | tee "${plan}/plan.txt"
! "${dry_run}" || exit 0
mkdir -p "${work}/log"
mv "${plan}"/plan.* "${work}"

# Data, and the noisy scores that all rows share, before any two rows run at once.
[ -s "${datadir}/prepare.json" ] || ./run.sh "${common[@]}" --stage 1 --stop_stage 1
count="$(wc -l < "${work}/plan.txt")"
status=0 left=""

run_rows() { # jobs at once, first, last
    tail --pid=$$ -n 0 -F "${work}/progress" 2> /dev/null &
    local follower=$!
    # A row runs all its jobs where it is itself run.
    for_job env cmd_backend=local "${tables[@]}" --plan "${work}/plan.json"
    local row=("${job_words[@]}")
    for_job "${common[@]}"
    "${cuda_cmd}" --max-jobs-run "$1" "${gpu_option[@]}" JOB="$2:$3" "${work}/log/row.JOB.log" \
        "${row[@]}" --run JOB -- "${job_words[@]}" || status=1
    sleep 0.5
    kill "${follower}" 2> /dev/null || true
}

: > "${work}/progress"
rm -f "${work}"/log/row.*.log
if [ "${count}" -gt 0 ]; then
    # The first row alone: it scores the noisy set and passes the gate for all.
    run_rows 1 1 1
    if [ "${status}" -ne 0 ]; then
        left=" (the first, without which the others are not tried)"
    elif [ "${count}" -gt 1 ]; then
        run_rows "${jobs}" 2 "${count}"
    fi
fi
"${tables[@]}"
[ "${status}" -eq 0 ] || die "rows failed${left}, the same command runs them again: $(grep -hE 'error:' "${work}"/log/row.*.log | tail -n 1) (${work}/log)"
