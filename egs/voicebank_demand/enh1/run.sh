#!/usr/bin/env bash
# Feature normalization on VoiceBank-DEMAND. ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$0")"

exec ./featnorm.sh --prepare voicebank_demand "$@"
