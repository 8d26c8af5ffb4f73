# shellcheck shell=bash
# Sourced: reads "--name value" pairs into the options of the calling script, which are its lines
#   name=default  # help
# before the line "# End of options.". Values are assigned, never evaluated, so that $(...) or
# quotes in one stay what they are. prog is what users call; help_end ends the text of --help.
# It also gives what every script needs: die, log, and the words of jobs.

prog="${prog:-$0}"

die() {
    echo "${prog}: error: $*" >&2
    exit 1
}

log() {
    echo "$(date '+%H:%M:%S') $*"
}

declare -A option_help given
self="$0"
[ -e "${self}" ] || self="${0##*/}" # it was named from another folder, and has gone to its own
option_names=()
while IFS='#' read -r setting text; do
    option_names+=("${setting%%=*}")
    option_help["${setting%%=*}"]="${text}"
done < <(sed -n '/^# Options/,/^# End of options/ s/^[a-z_]*=.*#/&/p' "${self}")

print_help() {
    echo "usage: ${prog} [--option value ...]"
    echo
    for option in "${option_names[@]}"; do
        printf '  --%-16s%s (default: %s)\n' "${option}" "${option_help[${option}]}" "${!option:-empty}"
    done
    echo
    echo "${help_end:-}"
}

while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h)
            print_help
            exit 0
            ;;
        --*)
            option="${1#--}"
            option="${option//-/_}"
            [[ "$1" != *=* ]] || die "$1: options are --name value, without ="
            # The shape first: a subscript is evaluated, and could hold $(...).
            if [[ ! "${option}" =~ ^[a-z_]+$ || ! -v "option_help[${option}]" ]]; then
                die "unknown option $1; ${prog} --help lists them all"
            fi
            [ $# -ge 2 ] && [[ "$2" != --* ]] || die "$1 needs a value"
            value="$2"
            # Of other options the last one counts, as in Kaldi.
            [ "${option}" != set ] || value="${set:+${set} }${value}"
            printf -v "${option}" '%s' "${value}"
            # shellcheck disable=SC2034  # whether the caller named it, whatever its value
            given["${option}"]=true
            shift 2
            ;;
        *)
            die "unexpected argument '$1'; options are --name value, ${prog} --help lists them"
            ;;
    esac
done

# Check --stage and --stop_stage against the number of the last stage.
check_stages() {
    # shellcheck disable=SC2154  # both scripts with stages have them
    [ "${stage}" -ge 1 ] && [ "${stage}" -le "$1" ] || die "there is no stage ${stage}: the stages are 1 to $1"
    # shellcheck disable=SC2154
    [ "${stop_stage}" -ge "${stage}" ] || die "--stop_stage ${stop_stage} is before --stage ${stage}: no stage would run"
}

# Check that options (their names are given) are not empty.
check_filled() {
    local name
    for name in "$@"; do
        [ -n "${!name}" ] || die "--${name} is empty: a variable that is not set?"
    done
}

# Check the options (their names are given) that become paths of logs: Kaldi's job runners hand those
# to a shell as they are.
check_places() {
    local name odd='[][:space:][:cntrl:]"'\''\\$`;&|<>(){}*?!#~^[]|^-|JOB'
    check_filled "$@"
    for name in "$@"; do
        if [[ "${!name}" =~ ${odd} ]]; then
            die "--${name} '${!name}' cannot be in the path of a log: choose one without blanks, quotes, \$, JOB and the like"
        fi
    done
}

# Set job_words to words that a job runner's shell reads as the given ones, whatever is in them.
for_job() {
    local word
    job_words=()
    for word in "$@"; do
        if [[ ! "${word}" =~ ^[A-Za-z0-9_./:=,+@%-]*$ || "${word}" == *JOB* ]]; then
            word="${word//\\/\\\\}"
            word="${word//\'/\\\'}"
            word="${word//\"/\\x22}"
            word="${word// /\\x20}"
            word="${word//$'\n'/\\n}"
            word="${word//$'\t'/\\t}"
            word="${word//$'\r'/\\r}"
            word="${word//$'\v'/\\v}"
            word="${word//$'\f'/\\f}"
            word="\$'${word//JOB/\\x4aOB}'"
        fi
        job_words+=("${word}")
    done
}
