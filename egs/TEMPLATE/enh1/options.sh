# Sourced: reads "--name value" pairs into shell variables that already have a default.
# Values are assigned, never evaluated, so that $(...) or quotes in one stay what they are.
# The calling script gives its --help through a function print_help.

while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h)
            print_help
            exit 0
            ;;
        --*)
            option="${1#--}"
            option="${option//-/_}"
            case " ${option_names} " in
                *" ${option} "*) ;;
                *)
                    echo "$0: error: unknown option $1; $0 --help lists them all" >&2
                    exit 1
                    ;;
            esac
            if [ $# -lt 2 ]; then
                echo "$0: error: $1 needs a value" >&2
                exit 1
            fi
            printf -v "${option}" '%s' "$2"
            shift 2
            ;;
        *)
            echo "$0: error: unexpected argument '$1'; options are --name value, $0 --help lists them" >&2
            exit 1
            ;;
    esac
done
