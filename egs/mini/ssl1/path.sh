# shellcheck shell=bash
# Sourced: the environment that "make" in the repository's root sets up.

MAIN_ROOT="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.." && pwd)"
if [ ! -f "${MAIN_ROOT}/tools/activate_python.sh" ]; then
    echo "path.sh: error: nothing is set up yet: run 'make' in ${MAIN_ROOT}" >&2
    exit 1
fi
# shellcheck disable=SC1091
. "${MAIN_ROOT}/tools/activate_python.sh"
export PATH="${MAIN_ROOT}/tools/utils:${PATH}"
export PYTHONPATH="${MAIN_ROOT}${PYTHONPATH:+:${PYTHONPATH}}"
# Logs are read while they are written, and sorted as Kaldi sorts.
export PYTHONUNBUFFERED=1 LC_ALL=C.UTF-8
# When one of several processes of a job dies, srun ends the others.
export SLURM_KILL_BAD_EXIT=1
