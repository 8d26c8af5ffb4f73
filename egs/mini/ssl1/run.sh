#!/usr/bin/env bash
# Pre-trains a small TERA or Mockingjay on clean speech. What comes out, exp/<tag>/<upstream>.pt,
# is a checkpoint like the official ones: ../enh1/run.sh --upstream tera --upstream_ckpt it.
set -euo pipefail
cd "$(dirname "$0")"

# Options: each is a line "name=default  # help", and --name value sets it.
stage=1                         # first stage to run
stop_stage=2                    # last stage to run
upstream=tera                   # tera, tera_raw, tera_raw_base or mockingjay (../enh1/conf/upstream)
config=                         # objective and training; empty: conf/tera.yaml, tera_base.yaml or mockingjay.yaml
speech_root=                    # folders of clean speech, separated by spaces; empty: the training speech of ../corpus
valid_speakers=                 # speakers to hold out, separated by spaces; empty: drawn, of ../corpus those that validate
steps=                          # steps; empty: those of the configuration
seed=0                          # of everything random
device=cpu                      # cpu or cuda
threads=                        # of the CPU; empty: OMP_NUM_THREADS, or two where there are as many cores
nj=2                            # jobs to make the corpus with
expdir=exp                      # where pre-trainings go
dumpdir=dump                    # where the mini corpus goes
tag=                            # name of the pre-training; empty: made from the options
python=                         # python to use; empty: the one set up by make
# End of options.

prog=./run.sh
. ./path.sh
# shellcheck disable=SC2034  # options.sh prints it
help_end="stages: 1 speech, 2 pre-training"
. ./options.sh
python="${python:-${FEATNORM_SE_PYTHON:-python3}}"
threads="${threads:-${OMP_NUM_THREADS:-$(($(nproc) > 1 ? 2 : 1))}}"
for number in stage stop_stage seed threads nj ${steps:+steps}; do
    [[ "${!number}" =~ ^[0-9]+$ ]] || die "--${number} is '${!number}', a whole number is wanted"
done
check_stages 2
[ "${threads}" -ge 1 ] || die "--threads must be at least 1"
case "${upstream}" in
    mockingjay*) config="${config:-conf/mockingjay.yaml}" ;;
    *_base) config="${config:-conf/tera_base.yaml}" ;;
    *) config="${config:-conf/tera.yaml}" ;;
esac
tag="${tag:-${upstream}_$(basename "${config%.*}")_seed${seed}}"
case "${tag}" in
    */* | .* | -*) die "--tag '${tag}' cannot be the name of a folder" ;;
esac

runs() {
    [ "${stage}" -le "$1" ] && [ "$1" -le "${stop_stage}" ]
}

if [ -z "${speech_root}" ]; then
    if runs 1; then
        log "stage 1: making the mini corpus in ${dumpdir}/mini"
        "${python}" ../enh1/local/make_mini.py --output "${dumpdir}/mini" --nj "${nj}"
    fi
    roots=("${dumpdir}/mini/clean_trainset_28spk_wav")
    valid_speakers="${valid_speakers:-p226 p287}"
    [ -d "${roots[0]}" ] || die "stage 2 needs ${roots[0]}: run stage 1 first, or give --speech_root"
else
    ! runs 1 || log "stage 1: nothing to do, the speech is in ${speech_root}"
    read -r -a roots <<< "${speech_root}"
fi

if runs 2; then
    log "stage 2: pre-training ${expdir}/${tag}"
    pretrain_options=()
    [ -z "${steps}" ] || pretrain_options+=(--steps "${steps}")
    OMP_NUM_THREADS="${threads}" "${python}" local/pretrain.py --speech_root "${roots[@]}" \
        --upstream "${upstream}" --upstream_conf_dir ../enh1/conf/upstream --config "${config}" \
        --expdir "${expdir}/${tag}" --seed "${seed}" --device "${device}" \
        --valid_speakers "${valid_speakers}" "${pretrain_options[@]}"
fi
