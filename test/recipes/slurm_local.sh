#!/usr/bin/env bash
# Runs a command with a Slurm of its own: munge, a controller and one node on loopback, in a scratch
# folder, all stopped at the end. Needs Debian's slurm-wlm and munge, and root.
#   test/recipes/slurm_local.sh COMMAND [ARGUMENT ...]
# Exit status 77: this machine cannot do it.
set -euo pipefail

for program in munged mungekey slurmctld slurmd sinfo srun; do
    PATH="${PATH}:/usr/sbin" command -v "${program}" > /dev/null || {
        echo "slurm_local.sh: no ${program}: install slurm-wlm and munge" >&2
        exit 77
    }
done
export PATH="${PATH}:/usr/sbin"
[ "$(id -u)" -eq 0 ] || { echo "slurm_local.sh: root is needed" >&2; exit 77; }
id munge > /dev/null 2>&1 || { echo "slurm_local.sh: there is no user munge" >&2; exit 77; }

scratch="$(mktemp -d)"
host="$(hostname -s)"
started=()
stop() {
    # The latest first: the node, the controller, munge.
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        pid="$(cat "${started[i]}" 2> /dev/null || true)"
        [ -z "${pid}" ] || kill "${pid}" 2> /dev/null || true
    done
    sleep 1
    rm -rf "${scratch}"
}
trap stop EXIT

# munged refuses folders that others could write to.
chmod 755 "${scratch}"
mkdir "${scratch}/munge" "${scratch}/state" "${scratch}/spool" "${scratch}/log"
mungekey --create --keyfile "${scratch}/munge/key"
chown -R munge: "${scratch}/munge"
runuser -u munge -- munged --key-file "${scratch}/munge/key" --socket "${scratch}/munge/socket" \
    --pid-file "${scratch}/munge/pid" --log-file "${scratch}/munge/log" --seed-file "${scratch}/munge/seed"
started+=("${scratch}/munge/pid")

# Free ports, so that no Slurm that is there already is met.
read -r port_a port_b < <(python3 -c '
import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(place.getsockname()[1] for place in taken))')
cpus="$(nproc --all)"  # plain nproc goes by OMP_NUM_THREADS
cat > "${scratch}/slurm.conf" << END
ClusterName=loopback
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${port_a}
SlurmdPort=${port_b}
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
SlurmdSpoolDir=${scratch}/spool
SlurmctldPidFile=${scratch}/slurmctld.pid
SlurmdPidFile=${scratch}/slurmd.pid
SlurmctldLogFile=${scratch}/log/slurmctld
SlurmdLogFile=${scratch}/log/slurmd
NodeName=${host} NodeAddr=127.0.0.1 CPUs=${cpus} State=UNKNOWN
PartitionName=main Nodes=${host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
END
export SLURM_CONF="${scratch}/slurm.conf"
slurmctld
started+=("${scratch}/slurmctld.pid")
slurmd
started+=("${scratch}/slurmd.pid")

for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%T 2> /dev/null)" != idle ] || break
    sleep 0.5
done
if [ "$(sinfo --noheader --format=%T)" != idle ]; then
    echo "slurm_local.sh: the node did not come up" >&2
    tail -n 5 "${scratch}"/log/* >&2
    exit 77
fi
"$@"
