#!/usr/bin/env bash
# Try this checkout (what is committed) on a machine with nothing: a bare Debian, made by debootstrap, and in it, as a
# user without root, README's two commands and the linters. Needs root here, and debootstrap. In a root that is there
# already, only the clone and its set-up are made anew.
#
#   tools/try_fresh.sh SUITE [COMMAND...]      SUITE: trixie (Debian 13), bookworm (12)
#   FRESH_ROOTS=DIR                            where the roots are kept (default: /var/tmp/featnorm_se_roots)
#
# What the shell says of pip (PIP_*), proxies and certificates is handed on; a file or folder named there is copied in.
set -euo pipefail

suite=${1:?usage: tools/try_fresh.sh SUITE [COMMAND...]}
shift
commands=("$@")
(($#)) || commands=("make setup" "make demo" "make test" "make lint")
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=${FRESH_ROOTS:-/var/tmp/featnorm_se_roots}/${suite}

[[ ${suite} =~ ^[a-z]+$ ]] || { echo "try_fresh: error: SUITE is a Debian's name, such as trixie" >&2; exit 1; }
[[ ${EUID} == 0 ]] || { echo "try_fresh: error: root is needed, to make the bare root and to change into it" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "try_fresh: error: no debootstrap: apt-get install debootstrap" >&2; exit 1; }

mkdir -p "${root}"
exec 9>"${root}.lock"
flock -n 9 || { echo "try_fresh: error: another run is using ${root}" >&2; exit 1; }
# A run that was killed left them: what is removed below must not be this machine's.
umount --lazy "${root}/proc" "${root}/dev" 2>/dev/null || true
if [[ ! -e ${root}/.made ]]; then
    rm -rf --one-file-system "${root}"
    mkdir -p "${root}"
    debootstrap --variant=minbase --include=python3,python3-venv,build-essential,git,ca-certificates "${suite}" "${root}"
    chroot "${root}" useradd --create-home user
    touch "${root}/.made"
fi

trap 'umount --lazy "${root}/proc" "${root}/dev" 2>/dev/null || true' EXIT
mount --bind /proc "${root}/proc"
mount --rbind --make-rslave /dev "${root}/dev"
[[ ! -e /etc/resolv.conf ]] || cp -L /etc/resolv.conf "${root}/etc/resolv.conf"
[[ ! -e /etc/hosts ]] || cp -L /etc/hosts "${root}/etc/hosts"

# What the user's shell knows in there.
known=(HOME=/home/user USER=user LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin)
while IFS='=' read -r name value; do
    known+=("${name}=${value}")
    if [[ ${value} == /* && -e ${value} ]]; then
        mkdir -p "${root}$(dirname "${value}")"
        cp -rL "${value}" "${root}$(dirname "${value}")/"
    fi
done < <(env | grep -E '^(PIP_[A-Z_]+|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)=')

inside() { chroot --userspec=user:user "${root}" env -i "${known[@]}" bash -c "$1"; }
megabytes() { du -smx "${root}" | cut -f 1; }

rm -rf "${root}/home/user/featnorm_se" "${root}/home/user/.cache"
git clone --quiet --no-hardlinks "${source}" "${root}/home/user/featnorm_se"
chroot "${root}" chown -R user:user /home/user
bare=$(megabytes)
failed=0
for command in "${commands[@]}"; do
    echo "== ${suite}: ${command}"
    begun=${SECONDS}
    status=0
    inside "cd ~/featnorm_se && ${command}" || status=$?
    ((status == 0)) || failed=1
    echo "== ${suite}: ${command}: status ${status}, $((SECONDS - begun)) s, $(($(megabytes) - bare)) MB more than the bare root"
done
exit "${failed}"
