#!/usr/bin/env bash
# Fetches VoiceBank-DEMAND (28 speakers, Edinburgh DataShare 10283/2791, 5.7 GB, CC BY 4.0):
# local/download.sh FOLDER. A second call goes on where the first was cut. The MD5 sums in
# downloads.txt are those that DataShare publishes; beside them is each file's place there.
set -euo pipefail

folder=$1
server="${2:-https://datashare.ed.ac.uk/server/api/core/bitstreams}"
list="$(readlink -f "${3:-local/downloads.txt}")"

die() {
    echo "local/download.sh: error: $*; or fetch the files elsewhere and name their folder with --db_root" >&2
    exit 1
}

command -v wget > /dev/null || die "there is no wget: install it"
mkdir -p "${folder}" && cd "${folder}" && exec 9> .download.lock
flock --nonblock 9 || [ $? -ne 1 ] || die "another run is writing ${folder}: wait for it"
while read -r md5 item name; do
    # Checked before, and not written to since.
    [ -s "${name}" ] && [ "${name}" -ot ".${name}.checked" ] && continue
    if ! md5sum --check --status <<< "${md5}  ${name}" 2> /dev/null; then
        wget --continue --no-verbose --show-progress --timeout=30 --tries=5 \
            --output-document="${name}" "${server}/${item}/content" ||
            die "cannot fetch ${name}: run it again to go on"
        md5sum --check --quiet <<< "${md5}  ${name}" ||
            die "${folder}/${name} is not the official file, whose MD5 is ${md5}: remove it and run again"
    fi
    touch ".${name}.checked"
done < "${list}"
