#!/usr/bin/env bash
# Runs a command with a Slurm of its own: munge, a controller and a node (or SLURM_LOCAL_NODES of
# them, each a slurmd) on loopback, in a scratch folder, all stopped at the end. Needs Debian's
# slurm-wlm and munge, and root.
#   test/recipes/slurm_local.sh COMMAND [ARGUMENT ...]
# Exit status 77: this machine cannot do it.
set -euo pipefail

export PATH="${PATH}:/usr/sbin"
for program in munged mungekey slurmctld slurmd sinfo srun; do
    command -v "${program}" > /dev/null || {
        echo "slurm_local.sh: no ${program}: install slurm-wlm and munge" >&2
        exit 77
    }
done
[ "$(id -u)" -eq 0 ] || { echo "slurm_local.sh: root is needed" >&2; exit 77; }

scratch="$(mktemp -d)"
host="$(hostname -s)"
stop() {
    mapfile -t started < <(jobs -p)
    kill "${started[@]}" 2> /dev/null || true
    wait
    rm -rf "${scratch}"
}
trap stop EXIT

# munged refuses folders that others could write to.
chmod 755 "${scratch}"
mkdir "${scratch}/munge" "${scratch}/state" "${scratch}/spool" "${scratch}/log"
mungekey --create --keyfile "${scratch}/munge/key"
munged --foreground --key-file "${scratch}/munge/key" --socket "${scratch}/munge/socket" \
    --pid-file "${scratch}/munge/pid" --seed-file "${scratch}/munge/seed" \
    2> "${scratch}/log/munged" &

nodes="${SLURM_LOCAL_NODES:-1}"
# Free ports, so that no Slurm that is there already is met: the controller's, then the nodes'.
mapfile -t ports < <(python3 -c '
import socket, sys
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(1 + int(sys.argv[1]))]
print(*(place.getsockname()[1] for place in taken), sep="\n")' "${nodes}")
cpus="$(nproc --all)"  # plain nproc goes by OMP_NUM_THREADS
cat > "${scratch}/slurm.conf" << END
ClusterName=loopback
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=${scratch}/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1
StateSaveLocation=${scratch}/state
SlurmdSpoolDir=${scratch}/spool/%n
SlurmctldPidFile=${scratch}/slurmctld.pid
SlurmdPidFile=${scratch}/%n.pid
SlurmctldLogFile=${scratch}/log/slurmctld
SlurmdLogFile=${scratch}/log/%n
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
END
for node in $(seq "${nodes}"); do
    mkdir "${scratch}/spool/node${node}"
    echo "NodeName=node${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${ports[node]} CPUs=${cpus} State=UNKNOWN"
done >> "${scratch}/slurm.conf"
export SLURM_CONF="${scratch}/slurm.conf"
slurmctld -D > /dev/null 2>&1 &
for node in $(seq "${nodes}"); do
    slurmd -D -N "node${node}" > /dev/null 2>&1 &
done

for try in $(seq 60); do
    [ "$(sinfo --noheader --format='%T %D' 2> /dev/null)" != "idle ${nodes}" ] || break
    sleep 0.5
    if [ "${try}" -eq 60 ]; then
        echo "slurm_local.sh: the node did not come up" >&2
        tail -n 5 "${scratch}"/log/* >&2
        exit 77
    fi
done
"$@"
