#!/usr/bin/env bash
# Write the pinned list of this Python anew, with the newest versions that fit together: tools/raise_pins.sh
# On Python 3.12 or 3.13 that is requirements.txt. On 3.11 only what its list lacks is added: parts there stay as old as
# ESPnet 202511 needs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python="${FEATNORM_SE_PYTHON:-python3}"
place=$(mktemp -d)
trap 'rm -rf "${place}"' EXIT

pins=requirements.txt
more=()
if "${python}" -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
    TOOLS=.
    # shellcheck source=tools/installers/espnet_202511.sh
    . installers/espnet_202511.sh
    more+=(--constraint "${pins}")
fi
read -ra extra <<<"${PIP_ARGS:-}"
"${python}" -m pip install --quiet --dry-run --ignore-installed --report "${place}/report.json" "${extra[@]}" \
    "${more[@]}" "..[recipes,dev]"
"${python}" - "${place}/report.json" "${pins}" <<'END'
import json, re, sys
from pathlib import Path

report, pins = map(Path, sys.argv[1:])
normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
lines = pins.read_text().splitlines()
known = {normal(line.split("==")[0]): line for line in lines if line and line[0] != "#"}
found = {}
for part in json.loads(report.read_text())["install"]:
    name, version = part["metadata"]["name"], part["metadata"]["version"].split("+")[0]
    # The GPU's libraries are torch's own affair: a build without CUDA has none.
    if not re.match(r"nvidia-|cuda-|triton$|featnorm-se$", normal(name)):
        found[normal(name)] = f"{name}=={version}"
# What is installed without its own requirements comes last, and stays.
kept = {name: line for name, line in known.items() if name.startswith("espnet")}
head = [line for line in lines if line.startswith("#")]
pins.write_text("\n".join([*head, *(line for _, line in sorted((kept | found).items()))]) + "\n")
END
git diff --stat -- "${pins}"
