#!/usr/bin/env bash
# The stages of every recipe: 1 data, 2 clean statistics, 3 fine-tuning, 4 enhancing and scoring,
# 5 tables. A recipe's run.sh calls this with its own defaults.
set -euo pipefail

# Options: each is a line "name=default  # help", and --name value sets it.
stage=1                         # first stage to run
stop_stage=5                    # last stage to run
upstream=wavlm                  # mockingjay, tera, wav2vec2, hubert, wavlm, ...: a card in conf/upstream or featnorm_se/upstream/conf
upstream_ckpt=                  # checkpoint: a file, a folder or owner/name of Hugging Face's, scratch (random weights); empty: the official one
norm=utterance                  # utterance (FN), corpus, mix, none (the baseline), instance and level (controls): see the main README.md
norm_site=auto                  # auto (the lowest where FN acts), frontend, projection, layer.K, last; several with commas; all
init=                           # start from this trained model, exp/NAME or a packed zip: all weights and statistics
config=conf/train.yaml          # training configuration, in the keys of ESPnet; with --init: conf/finetune.yaml
set=                            # key=value over the configuration, such as optim_conf.lr=1e-3; several with blanks, or each with its --set
seed=0                          # random seed
ngpu=0                          # GPUs on each machine, for stages 2 to 4; 0: the CPU
num_nodes=1                     # machines to train on, through the cluster's queue (cmd_backend)
nj=2                            # jobs to prepare data, to collect statistics and to score with
inference_nj=2                  # jobs to enhance with
inference_config=conf/decode.yaml  # how stage 4 enhances
inference_model=                # weights to enhance with; empty: those of --inference_config
metrics=                        # metrics to score; empty: those of featnorm-se score. What is scored already stays
allow_failures=0                # number of utterances without scores that stage 4 accepts
expdir=exp                      # where experiments go; RESULTS.md is written beside it
datadir=data                    # where data directories go
dumpdir=dump                    # where statistics and converted audio go
tag=                            # name of the experiment; empty: made from the options
python=                         # python to use; empty: the one set up by make
prepare=mini                    # how stage 1 makes its data: mini, voicebank_demand, libri2mix, folders or kaldi
num_spk=1                       # talkers in a recording; 2: separate them (--prepare mini, libri2mix, or kaldi with spk2.scp)
mix=both                        # for two talkers: both is with noise, clean without
db_root=                        # the corpus. voicebank_demand: the four official folders or zips, fetched if empty; folders, kaldi: train, valid and test
allow_pipes=false               # kaldi: true runs the commands that an scp holds
skip_bad=false                  # true leaves bad pairs of the corpus out, and says how many
skip_gate=false                 # voicebank_demand: true goes on although the noisy scores are not the published ones
valid_speakers="p226 p287"      # training speakers to validate on
test_root=                      # folder with noisy/ and clean/ to test on in place of the corpus's pairs (not with kaldi, libri2mix); with --test_set NAME, what NAME is made of (a Kaldi data directory, too)
test_set="test"                 # name of the test set, a folder in --datadir; if it is not test, stage 1 makes it alone, from --test_root
speech_root=                    # mini: folder of clean speech; empty: the one in egs/mini/corpus
noise_root=                     # mini: folder of noise; empty: the one there
copies=4                        # mini: how often each training utterance is mixed
# End of options.

prog=./run.sh
command_line="${prog}$([ $# -eq 0 ] || printf ' %q' "$@")"
shared=. # a recipe's own links, or the template itself
[ -e path.sh ] || shared="$(dirname "$(readlink -f "$0")")"
. "${shared}/path.sh"
help_end="stages: 1 data, 2 clean statistics, 3 fine-tuning, 4 enhancing and scoring, 5 tables"
. "${shared}/options.sh"
. "${shared}/cmd.sh"
python="${python:-${FEATNORM_SE_PYTHON:-python3}}"

for number in stage stop_stage seed ngpu num_nodes nj inference_nj copies allow_failures num_spk; do
    [[ "${!number}" =~ ^(0|[1-9][0-9]{0,9})$ ]] || die "--${number} is '${!number}', a whole number is wanted"
done
check_stages 5
[ "${seed}" -lt 4294967296 ] || die "--seed ${seed}: less than 2^32 is wanted"
for answer in allow_pipes skip_bad skip_gate; do
    [[ "${!answer}" =~ ^(true|false)$ ]] || die "--${answer} is '${!answer}', true or false is wanted"
done
[ "${nj}" -ge 1 ] && [ "${inference_nj}" -ge 1 ] || die "--nj and --inference_nj must be at least 1"
[ "${num_nodes}" -ge 1 ] || die "--num_nodes must be at least 1"
[ "${num_nodes}" -eq 1 ] || [ "${job_cmd}" != run.pl ] ||
    die "--num_nodes ${num_nodes} needs a cluster: cmd_backend=slurm ${prog} ... (or pbs, sge)"
[[ ! -v "given[init]" ]] || check_filled init
if [ -n "${init}" ]; then
    [ -e "${init}" ] || die "--init ${init}: there is no such experiment or packed model"
    for option in upstream upstream_ckpt norm norm_site; do
        [[ ! -v "given[${option}]" ]] || [ -z "${!option}" ] || die "--${option} ${!option}: leave it out, --init ${init} has it"
        printf -v "${option}" ''
    done
    [[ -v "given[config]" ]] || config=conf/finetune.yaml
fi
card="conf/upstream/${upstream}.yaml"
[ -f "${card}" ] || card="${MAIN_ROOT}/featnorm_se/upstream/conf/${upstream}.yaml"
# A card without a source has random weights only.
[ -n "${init}${upstream_ckpt}" ] || ! grep -qs '^source: null' "${card}" || upstream_ckpt=scratch
[ "${num_spk}" = 1 ] || [ "${num_spk}" = 2 ] || die "--num_spk ${num_spk}: there are 1 and 2"
[ "${num_spk}" = 1 ] || [[ "${prepare}" =~ ^(mini|libri2mix|kaldi)$ ]] || die "--num_spk 2 is for --prepare mini, libri2mix and kaldi"
[ "${num_spk}" = 2 ] && [ "${prepare}" != kaldi ] || [[ ! -v "given[mix]" ]] || die "--mix ${mix} is for --num_spk 2, and not for kaldi"
[ "${num_spk}" = 2 ] || [ "${prepare}" != libri2mix ] || die "--prepare libri2mix is of two talkers: --num_spk 2 is wanted"
[ -z "${speech_root}${noise_root}" ] || [ "${prepare}" = mini ] || die "--speech_root and --noise_root are for --prepare mini"
[[ ! -v "given[copies]" ]] || [ "${prepare}" = mini ] || die "--copies is for --prepare mini"
[ -z "${db_root}" ] || [ "${prepare}" != mini ] || die "--db_root ${db_root}: --prepare mini takes --speech_root and --noise_root; of pairs give --prepare folders"
[ "${num_spk}" = 1 ] || [ -n "${metrics}" ] || metrics="STOI SI_SDR SI_SDRi"
norm_site="${norm_site//[[:space:]]/}" # it is part of paths of logs
command -v "${python}" > /dev/null || die "--python ${python}: there is no such program"
[ -r "${config}" ] || die "--config ${config}: there is no such file"
[ -r "${inference_config}" ] || die "--inference_config ${inference_config}: there is no such file"
read -r -a words <<< "${set//$'\n'/ }"
pairs=()
for word in "${words[@]}"; do # what begins no key goes on with a value: [0.5, 0.9]
    if [[ "${word}" =~ ^[A-Za-z_][A-Za-z0-9_.]*= ]] || [ "${#pairs[@]}" -eq 0 ]; then
        pairs+=("${word}")
    else
        pairs[-1]+=" ${word}"
    fi
done
train_options=()
for pair in "${pairs[@]}"; do
    train_options+=(--set "${pair}")
done
if [ -z "${tag}" ]; then
    case "${upstream_ckpt}" in
        '') weights=pretrained ;;
        scratch) weights=scratch ;;
        *)
            weights="$(basename "${upstream_ckpt}")"
            for suffix in pt pth ckpt bin safetensors; do weights="${weights%".${suffix}"}"; done
            ;;
    esac
    tag="${upstream}_${weights}_${norm}"
    [ "${norm}" = none ] || [ "${norm}" = level ] || tag+="_${norm_site//,/+}"
    [ -z "${init}" ] || tag="init_$(basename "${init%.zip}")"
    tag+="_$(basename "${config%.*}")_seed${seed}"
    # What is set is part of the name, but for what may change when a run goes on.
    for pair in "${pairs[@]}"; do
        [[ "${pair%%=*}" =~ ^(max_epoch|patience|num_workers|ngpu|log_interval|max_bad_steps)$ ]] || tag+="_${pair}"
    done
    tag="${tag//[^A-Za-z0-9._+=,@-]/}"
    [ "${#tag}" -le 200 ] || tag="${tag:0:180}_$(cksum <<< "${tag}" | cut -d' ' -f1)"
fi
# Of the noisy input that folder has the scores.
case "${tag}" in
    */* | .* | -* | noisy) die "--tag '${tag}' cannot be the name of a folder" ;;
esac
check_places expdir dumpdir tag test_set
[[ "${test_set}" =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || die "--test_set '${test_set}': the name of a folder in --datadir is wanted"
check_filled datadir
[[ "${datadir}" != -* ]] || die "--datadir '${datadir}': ./${datadir} is wanted, it begins like an option"

runs() { # stage: is it asked for?
    [ "${stage}" -le "$1" ] && [ "$1" -le "${stop_stage}" ]
}

# What is started here holds this pipe open: when cat ends, all of it has ended.
exec 9> >(trap '' INT TERM; exec cat > /dev/null 2>&1)
jobs_end=$!

# As before a pre-emption, and on Ctrl-C. What runs here gets the signal itself, and ends.
ended() { # how status
    trap '' INT TERM
    exec 9>&-
    wait "${jobs_end}" || true
    echo "${prog}: error: $1: the same command again goes on" >&2
    exit "$2"
}
trap 'ended "ended by SIGTERM" 143' TERM
trap 'ended interrupted 130' INT

check=("${python}" "${MAIN_ROOT}/egs/TEMPLATE/enh1/local/check_config.py" --metrics "${metrics}")
if [ -n "${init}" ]; then # the model says the rest
    check+=(--init "${init}")
else
    check+=(--upstream "${upstream}" --upstream_ckpt "${upstream_ckpt}" --norm "${norm}"
        --norm_site "${norm_site}" --upstream_conf_dir conf/upstream --num_spk "${num_spk}")
fi
if runs 3; then # before hours of other stages, and before it makes a folder
    check+=(--config "${config}" "${train_options[@]}")
    [ "${stop_stage}" -lt 4 ] || check+=(--inference_config "${inference_config}")
fi
"${check[@]}"
exp="${expdir}/${tag}"
# Only random weights are others with another seed.
weights_seed=$([ "${upstream_ckpt}" = scratch ] && echo "${seed}" || echo 0)
checksum() { printf '%s' "$1" | cksum | cut -d' ' -f1; }
stats="${dumpdir}/stats/${upstream}_$(checksum "${upstream_ckpt:-official}")_seed${weights_seed}_${norm_site//,/+}"
[ "${datadir}" = data ] || stats+="_$(checksum "${datadir}")"  # of one --dumpdir for several
upstream_options=(--upstream "${upstream}" --upstream_ckpt "${upstream_ckpt}"
    --upstream_conf_dir conf/upstream --norm_site "${norm_site}" --seed "${seed}")
device=cpu
gpu_option=()
if [ "${ngpu}" -gt 0 ]; then
    device=cuda
    gpu_option=(--gpu "${ngpu}")
fi

needs() { # stage file made-by of
    [ -s "$2" ] || die "stage $1 needs $2: run stage $3 first"
    [ ! "${4:-}" -nt "$2" ] || die "stage $1: $4 is newer than $2, which is made of it: run stage $3 first"
}

last_error() { # log...: the line of error that a job ended with
    local lines reasons
    lines="$(cat "$@" 2> /dev/null | grep -vE '^(srun|slurmstepd)' | grep -E 'error: |Error')" || true
    # Where one of several processes fails, the others are ended.
    reasons="$(grep -v 'error: ended by SIGTERM' <<< "${lines}")" || reasons="${lines}"
    grep 'error: ' <<< "${reasons}" | tail -n 1 | grep . || tail -n 1 <<< "${reasons}"
}

# Run a command as jobs. JOB in the log's name and %j% in the words are the number of each: a JOB
# that is part of somebody's path stays what it is.
run_jobs() { # stage runner jobs log command...
    local number=$1 runner=$2 count=$3 job_log=$4 said killed
    shift 4
    for_job "$@"
    rm -f "${job_log%JOB*}"*  # of an earlier run, with more jobs
    "${runner}" "${gpu_option[@]}" JOB=1:"${count}" "${job_log}" "${job_words[@]//%j%/JOB}" || {
        said="$(last_error "${job_log%JOB*}"*)"
        killed="a job ended without a word: was it killed, for want of memory (then fewer --nj and --inference_nj), or is the disk full?"
        die "stage ${number}: ${said:-${killed}} (${job_log%/*})"
    }
}

check_talkers() { # data directory...
    local part spoken number
    for part in "$@"; do
        [ -e "${part}/wav.scp" ] || continue
        spoken="one talker, without spk2.scp" number=1
        [ ! -e "${part}/spk2.scp" ] || spoken="two talkers" number=2
        [ "${num_spk}" = "${number}" ] || die "${part} is of ${spoken}: --num_spk ${number} is wanted"
    done
}

about_data() { # option...: what stage 1 makes data of
    local option value
    for option in "$@"; do
        value="${!option}"
        [[ -z "${value}" || "${option}" != *_root ]] || value="$(realpath -m -- "${value}")"
        echo "${option} ${value}"
    done
}

check_data() { # folder option...: what was named for its stage 1, and is named now, is the same
    local line option
    [ -e "$1/.options" ] || return 0
    while IFS= read -r line; do
        option="${line%% *}"
        [[ -v "given[${option}]" ]] || continue
        grep -q "^${option} " "$1/.options" || continue # a file of before
        grep -qxF -- "${line}" "$1/.options" ||
            die "--${line}: $1 was made with another: run stage 1, or leave it out"
    done <<< "$(about_data "${@:2}")"
}

other_set="${test_set}"
[ "${test_set}" != test ] || other_set=
of_corpus=(db_root valid_speakers speech_root noise_root copies mix)
of_pairs=(test_root skip_bad)
if [ -n "${other_set}" ] || ! runs 1; then
    check_data "${datadir}" "${of_corpus[@]}"
    runs 1 || check_data "${datadir}${other_set:+/${other_set}}" "${of_pairs[@]}"
fi
if runs 1 && [ -n "${other_set}" ]; then
    [ -s "${datadir}/train/wav.scp" ] || die "--test_set ${test_set} is beside the corpus's own sets: run stage 1 without it first"
    [[ ! "${test_set}" =~ ^(train|valid)$ ]] || die "--test_set ${test_set}: stage 1 has made it of the corpus"
    [ -d "${test_root}" ] || die "--test_root '${test_root}': there is no such folder; of it, with noisy/ and clean/ or with wav.scp and spk1.scp, stage 1 makes --test_set ${test_set}"
    [ "${num_spk}" = 1 ] || [ -e "${test_root}/wav.scp" ] || die "--test_root ${test_root}: of two talkers wav.scp, spk1.scp and spk2.scp are wanted"
    check_talkers "${test_root}"
    log "stage 1: preparing ${datadir}/${test_set}"
    "${python}" -m featnorm_se.bin.prepare --test_set "${test_set}" --test_root "${test_root}" --output "${datadir}" \
        --wav_dir "${dumpdir}/wav16k" --nj "${nj}" --skip_bad "${skip_bad}" --allow_pipes "${allow_pipes}"
    about_data "${of_pairs[@]}" > "${datadir}/${test_set}/.options"
elif runs 1; then
    [ "${prepare}" != kaldi ] || check_talkers "${db_root}"/{train,test}
    log "stage 1: preparing data in ${datadir}"
    prepare_options=(--output "${datadir}" --wav_dir "${dumpdir}/wav16k" --nj "${nj}" --skip_bad "${skip_bad}")
    [[ ! -v "given[valid_speakers]" ]] || prepare_options+=(--valid_speakers "${valid_speakers}")
    [ -z "${test_root}" ] || prepare_options+=(--test_root "${test_root}")
    case "${prepare}" in
        mini)
            mini_options=(--output "${dumpdir}/mini" --seed 0 --nj "${nj}" --copies "${copies}"
                --num_spk "${num_spk}")
            [ -z "${speech_root}" ] || mini_options+=(--speech_root "${speech_root}")
            [ -z "${noise_root}" ] || mini_options+=(--noise_root "${noise_root}")
            mixed="$(about_data speech_root noise_root copies num_spk)" place="$(realpath -m -- "${datadir}")"
            owner="${dumpdir}/.mini.options" holder="$(head -n 1 "${dumpdir}/.mini.options" 2> /dev/null || true)"
            if [ -e "${holder}" ] && [ "${holder}" != "${place}" ] && [ "$(tail -n +2 "${owner}")" != "${mixed}" ]; then
                die "${dumpdir} has the mixtures of --datadir ${holder}, made with other options: give this one another --dumpdir"
            fi
            "${python}" local/make_mini.py "${mini_options[@]}"
            printf '%s\n' "${place}" "${mixed}" > "${owner}"
            db_root="${dumpdir}/mini"
            # One who validates alone is p226.
            [ "${num_spk}" = 2 ] || [[ -v "given[valid_speakers]" ]] || compgen -G "${db_root}/clean_trainset_28spk_wav/p287_*" > /dev/null || prepare_options+=(--valid_speakers p226)
            [ "${num_spk}" = 1 ] || { prepare=libri2mix; prepare_options+=(--mix "${mix}"); }
            ;;
        voicebank_demand)
            if [ -z "${db_root}" ]; then
                db_root=downloads
                local/download.sh "${db_root}"
            fi
            ;;
        folders | kaldi)
            [ -n "${db_root}" ] || die "stage 1 needs --db_root, the folder of train, valid and test"
            prepare_options+=(--allow_pipes "${allow_pipes}")
            ;;
        libri2mix)
            [ -n "${db_root}" ] || die "stage 1 needs --db_root, the folder of Libri2Mix, which its own scripts make"
            prepare_options+=(--mix "${mix}")
            ;;
        *) die "--prepare ${prepare}: there are mini, voicebank_demand, libri2mix, folders and kaldi" ;;
    esac
    "${python}" -m featnorm_se.bin.prepare --corpus "${prepare}" --db_root "${db_root}" "${prepare_options[@]}"
    about_data "${of_corpus[@]}" "${of_pairs[@]}" > "${datadir}/.options"
fi
if runs 4 && [ -n "${other_set}" ]; then # before hours of training
    needs 4 "${datadir}/${test_set}/wav.scp" 1
    [ ! -e "${datadir}/${test_set}/segments" ] || die "${datadir}/${test_set} has segments: stage 1 cuts them out, with --test_set and --test_root"
fi
if runs 2 || runs 3 || runs 4; then
    check_talkers "${datadir}"/{train,"${test_set}"}
fi

list_talkers() { # folder: talkers becomes its lists of what each of them says
    local number
    talkers=()
    for number in $(seq "${num_spk}"); do talkers+=("$1/spk${number}.scp"); done
}

stats_source() { # the lists, when stage 1 saw which files, and the card
    { cat "${datadir}"/train/*.scp "${card}"; grep -s '"train": "' "${datadir}/prepare.json" || true; } | cksum
}

collect() { # kind scp...
    local shards="${nj}" cmd="${train_cmd}" files=() shard
    # One process keeps a GPU busy.
    [ "${ngpu}" -eq 0 ] || { shards=1 cmd="${cuda_cmd}"; }
    for shard in $(seq "${shards}"); do files+=("${stats}/$1.${shard}.npz"); done
    log "stage 2: $1 statistics of ${upstream} at ${norm_site} (${stats}/log)"
    run_jobs 2 "${cmd}" "${shards}" "${stats}/log/$1.JOB.log" \
        "${python}" -m featnorm_se.bin.collect_stats "${upstream_options[@]}" --device "${device}" \
        --kind "$1" --wav_scp "${@:2}" --shard %j%/"${shards}" --output "${stats}/$1.%j%.npz"
    grep -hs '^warning: ' "${stats}/log/$1".*.log | sort -u >&2 || true
    [ "$(cat "${stats}/$1.source" 2> /dev/null)" = "${made_of}" ] || rm -f "${stats}/$1.source"
    "${python}" -m featnorm_se.bin.collect_stats --merge "${files[@]}" --output "${stats}/$1.npz"
    [ "$(stats_source)" = "${made_of}" ] ||
        die "stage 2: ${datadir}/train or ${card} was made anew meanwhile: run stage 2 again"
    echo "${made_of}" > "${stats}/$1.source"
}

needs_stats() { # kind
    needs 3 "${stats}/$1.npz" 2
    [ "$(cat "${stats}/$1.source" 2> /dev/null)" = "$(stats_source)" ] ||
        die "stage 3: ${stats}/$1.npz is not known to be of ${datadir}/train and ${card} as they are now: run stage 2 first"
}

if runs 2; then
    needs 2 "${datadir}/train/spk1.scp" 1
    if [ -n "${init}" ] || [ "${norm}" = none ]; then
        log "stage 2: no statistics are needed, ${init:---norm none}${init:+ has them}"
    else
        list_talkers "${datadir}/train"
        made_of="$(stats_source)"
        collect clean "${talkers[@]}"
        [ "${norm}" != corpus ] || collect noisy "${datadir}/train/wav.scp"
    fi
fi

score() { # output enhanced-scp...
    list_talkers "${datadir}/${test_set}"
    local options=(--ref "${talkers[@]}" --inf "${@:2}" --output "$1" --nj "${nj}"
        --allow_failures "${allow_failures}") names
    [ "${num_spk}" = 1 ] || options+=(--mix "${datadir}/${test_set}/wav.scp")
    read -r -a names <<< "${metrics//$'\n'/ }"
    [ -z "${metrics}" ] || options+=(--metrics "${names[@]}")
    [ ! -f "${datadir}/${test_set}/utt2cond" ] || options+=(--utt2cond "${datadir}/${test_set}/utt2cond")
    "${python}" -m featnorm_se.bin.score "${options[@]}"
}

score_noisy() { # without its tables: RESULTS.md has the means, and the enhanced ones are shown
    score "${expdir}/noisy/scores_${test_set}" "${datadir}/${test_set}/wav.scp" > /dev/null || return
    local list="${datadir}/${test_set}/wav.scp" summary="${expdir}/noisy/scores_${test_set}/summary.json"
    touch -c "${summary}" # it holds for the list as it is now, whose time may lie ahead (of another clock)
    [ ! "${list}" -nt "${summary}" ] || touch -c -r "${list}" "${summary}"
}

if runs 3; then
    needs 3 "${datadir}/train/wav.scp" 1
    if [ -n "${init}" ]; then
        train_options+=(--init "${init}")
    elif [ "${norm}" != none ]; then
        needs_stats clean
        train_options+=(--clean_stats "${stats}/clean.npz")
    fi
    if [ -z "${init}" ] && [ "${norm}" = corpus ]; then
        needs_stats noisy
        train_options+=(--noisy_stats "${stats}/noisy.npz")
    fi
fi

if runs 3 || runs 4; then
    runs 3 || needs 4 "${datadir}/${test_set}/wav.scp" 1
    if [ "${prepare}" = voicebank_demand ] && [ "${skip_gate}" = false ] && { runs 3 || [ -z "${other_set}" ]; }; then
        log "the gate: scoring the noisy test set against the published scores"
        test_set="test" score_noisy
        "${python}" local/gate.py --scores "${expdir}/noisy/scores_test"
    fi
fi

test_lists() { { cat "${datadir}/${test_set}"/{wav,spk1,spk2}.scp 2> /dev/null || true; } | cksum; }

same_lists() { # else the scores are of one half and of the other
    [ "$(test_lists)" != "${lists}" ] || return 0
    rm -f "${exp}/scores_${test_set}/summary.json" "${expdir}/noisy/scores_${test_set}/summary.json"
    die "stage 4: ${datadir}/${test_set} was made anew meanwhile: run stage 4 again"
}

taken() { # after flock: status 1 is another run; above it, the file system has no locks
    [ $? -ne 1 ] || die "another run is at work in ${exp}: wait for it, or give another --tag"
}

# A log that tells of epochs is kept: this command may be refused, or go on after them.
keep_log() { # the log of the epochs so far becomes train_N.log
    local number=1
    kept_log="" job_log="${exp}/train.log"
    if grep -qs 'epoch started' "${job_log}"; then
        while [ -e "${exp}/train_${number}.log" ]; do number=$((number + 1)); done
        kept_log="${exp}/train_${number}.log"
        mv "${job_log}" "${kept_log}"
    fi
    rm -f "${job_log}"
}

restore_log() { # a run that began no epoch leaves the log as it was, its own is refused.log
    if [ -n "${kept_log}" ] && ! grep -qs 'epoch started' "${job_log}"; then
        [ ! -e "${job_log}" ] || mv "${job_log}" "${exp}/refused.log"
        mv "${kept_log}" "${job_log}"
        job_log="${exp}/refused.log"
    fi
}

follow_training() { # pid: until it ends, show the lines of the log that tell how far training is
    local line="" results='([0-9]+)epoch results: \[train\].* loss=([^,]*),.*\[valid\].* loss=([^,]*),'
    tail -n 0 -F -s 0.3 --pid="$1" "${exp}/train.log" 2> /dev/null | while IFS= read -r line; do
        if [[ "${line}" =~ ${results} ]]; then
            epoch="epoch ${BASH_REMATCH[1]}: train loss ${BASH_REMATCH[2]}, valid loss ${BASH_REMATCH[3]}"
            if [[ "${line#*\[valid\]}" =~ (si_snr|pesq_wb)=([^,]*) ]]; then
                epoch+=", ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
            fi
        elif [[ "${line}" =~ "The best model has been updated: "(.*) ]]; then
            echo "${epoch}, the best so far by ${BASH_REMATCH[1]}"
        elif [[ "${line}" =~ "There are no improvements in this epoch" ]]; then
            echo "${epoch}"
        elif [[ "${line}" =~ [0-9]+epoch:train:[^,]*batch|[0-9]+/[0-9]+"epoch started".*|.*" is trained already"|^"warning: ".* ]]; then
            echo "${BASH_REMATCH[0]}"
        fi
    done
}

if runs 3; then
    log "stage 3: fine-tuning ${exp} (${exp}/train.log)"
    mkdir -p "${exp}"
    # The training holds one lock, once it runs, and this script the other, with all that it starts:
    # a run that is refused touches no log.
    flock --nonblock "${expdir}/.${tag}.lock" true || taken
    exec 8>> "${expdir}/..stage3.${tag}"  # a name that no tag's own lock can have
    flock --nonblock 8 || taken
    rm -f "${exp}/launch.log" "${exp}"/.dist_init_*
    keep_log
    for_job "${python}" -m featnorm_se.bin.train "${upstream_options[@]}" --norm "${norm}" \
        --config "${config}" --expdir "${exp}" --train_dir "${datadir}/train" \
        --valid_dir "${datadir}/valid" --command "${command_line}" "${train_options[@]}"
    tail -f /dev/null --pid=$$ 8>&- 9>&- & # ends with this script, whatever kills it
    training=$!
    trap 'kill "${training}" 2> /dev/null || true' EXIT
    follow_training "${training}" 8>&- 9>&- &
    follower=$!
    status=0
    if [ "${num_nodes}" -gt 1 ] || [ "${ngpu}" -gt 1 ]; then
        # ESPnet's launcher starts the processes, gives each its rank and adds --ngpu.
        "${python}" -m espnet2.bin.launch --cmd "${cuda_cmd}" --log "${exp}/train.log" \
            --ngpu "${ngpu}" --num_nodes "${num_nodes}" --init_file_prefix "${exp}/.dist_init_" \
            --multiprocessing_distributed true -- "${job_words[@]}" > "${exp}/launch.log" 2>&1 || status=$?
    else
        # Not where it says the log is: a refused command's is refused.log.
        "${cuda_cmd}" "${gpu_option[@]}" "${exp}/train.log" "${job_words[@]}" --ngpu "${ngpu}" \
            2> >(grep -v ', log is in ' >&2) || status=$?
    fi
    kill "${training}" 2> /dev/null || true
    wait "${follower}" || true
    restore_log
    rm -f "${exp}"/.dist_init_*  # torch leaves it now and then
    if [ "${status}" -ne 0 ]; then
        said="$(last_error "${exp}/launch.log" "${job_log}")"
        die "stage 3: ${said:-it ended without a word: was it killed, for want of memory? Try --set batch_size=N} (${job_log})"
    fi
    exec 8>&-
fi

if runs 4; then
    needs 4 "${datadir}/${test_set}/wav.scp" 1
    needs 4 "${exp}/config.yaml" 3
    named=("${train_options[@]}")
    for option in upstream_ckpt norm norm_site seed; do # the recipe may name the upstream itself
        [[ ! -v "given[${option}]" ]] || named+=(--"${option}" "${!option}")
    done
    runs 3 || "${python}" "${MAIN_ROOT}/egs/TEMPLATE/enh1/local/check_trained.py" --expdir "${exp}" "${named[@]}"
    exec 8>> "${expdir}/..stage4.${tag}"  # held by all that is started here
    flock --nonblock 8 || taken
    lists="$(test_lists)"
    log "stage 4: enhancing ${datadir}/${test_set} with ${exp}"
    enhance=("${python}" -m featnorm_se.bin.enhance_set --model "${exp}" --config "${inference_config}"
        --wav_scp "${datadir}/${test_set}/wav.scp" --output "${exp}/enhanced_${test_set}" --device "${device}")
    [ -z "${inference_model}" ] || enhance+=(--model_file "${inference_model}")
    run_jobs 4 "${decode_cmd}" "${inference_nj}" "${exp}/enhanced_${test_set}/log/enhance.JOB.log" \
        "${enhance[@]}" --shard %j%/"${inference_nj}"
    "${enhance[@]}" --list
    log "stage 4: scoring the noisy and the enhanced speech"
    same_lists
    list_talkers "${exp}/enhanced_${test_set}"
    enhanced=("${talkers[@]}") status=0
    score_noisy || status=$?
    score "${exp}/scores_${test_set}" "${enhanced[@]}" || status=$?
    same_lists # other names end the scoring, in other words
    [ "${status}" -eq 0 ] || exit "${status}"
    exec 8>&-
fi

if runs 5; then
    needs 5 "${expdir}/noisy/scores_${test_set}/summary.json" 4 "${datadir}/${test_set}/wav.scp"
    for summary in "${expdir}"/noisy/scores_*/summary.json; do
        scored="${summary%/*}" scored="${scored##*/scores_}"
        [ ! "${datadir}/${scored}/wav.scp" -nt "${summary}" ] ||
            log "warning: ${datadir}/${scored} is newer than its scores: run stage 4 with --test_set ${scored}"
    done
    results="$(dirname "${expdir}")/RESULTS.md"
    page="$(dirname "${expdir}")/report/index.html"
    [[ ! -v "given[tag]" ]] || [ -d "${exp}" ] || die "stage 5: there is no experiment ${exp}"
    if [ -f "${exp}/run.json" ]; then
        log "stage 5: looking at the features of ${exp}"
        # Where the upstream that it started from is gone, the tables are made all the same.
        "${python}" "${MAIN_ROOT}/egs/TEMPLATE/enh1/local/drift.py" --expdir "${exp}" --datadir "${datadir}/valid" ||
            log "warning: stage 5 goes on without a look at the features of ${exp}"
    fi
    log "stage 5: ${results} and ${page}"
    "${python}" -m featnorm_se.bin.report --expdir "${expdir}" --output "${results}" \
        --html "${page}" --datadir "${datadir}"
fi
