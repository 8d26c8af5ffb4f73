# shellcheck shell=bash
# Sourced: how jobs are run. Choose a backend here or by cmd_backend=slurm ./run.sh ...
#   local: on this machine (run.pl); slurm, sge, pbs: through the cluster's queue, with
#   conf/slurm.conf, conf/queue.conf or conf/pbs.conf for its options.

case "${cmd_backend:-local}" in
    local) job_cmd="run.pl" ;;
    slurm) job_cmd="slurm.pl" ;;
    sge) job_cmd="queue.pl" ;;
    pbs) job_cmd="pbs.pl" ;;
    *)
        echo "cmd.sh: error: no such cmd_backend: '${cmd_backend}'; there are local, slurm, sge and pbs" >&2
        exit 1
        ;;
esac
export train_cmd="${job_cmd}"   # collecting statistics
export cuda_cmd="${job_cmd}"    # fine-tuning
export decode_cmd="${job_cmd}"  # enhancing; scores are computed where run.sh runs
