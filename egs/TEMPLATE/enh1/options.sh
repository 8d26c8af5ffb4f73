# shellcheck shell=bash
# Sourced: reads "--name value" pairs into the options of the calling script, which are its lines
#   name=default  # help
# before the line "# End of options.". Values are assigned, never evaluated, so that $(...) or
# quotes in one stay what they are. prog is what users call; help_end ends the text of --help.

prog="${prog:-$0}"

declare -A option_help
option_names=()
while IFS='#' read -r setting text; do
    option_names+=("${setting%%=*}")
    option_help["${setting%%=*}"]="${text}"
done < <(sed -n '/^# Options/,/^# End of options/ s/^[a-z_]*=.*#/&/p' "$0")

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
            if [[ ! -v "option_help[${option}]" ]]; then
                echo "${prog}: error: unknown option $1; ${prog} --help lists them all" >&2
                exit 1
            fi
            if [ $# -lt 2 ]; then
                echo "${prog}: error: $1 needs a value" >&2
                exit 1
            fi
            printf -v "${option}" '%s' "$2"
            shift 2
            ;;
        *)
            echo "${prog}: error: unexpected argument '$1'; options are --name value, ${prog} --help lists them" >&2
            exit 1
            ;;
    esac
done
