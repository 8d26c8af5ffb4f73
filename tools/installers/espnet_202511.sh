# shellcheck shell=bash
# Sourced by install_packages.sh on Python 3.11, which newer ESPnets do not take. ESPnet 202511 asks setuptools < 74
# where torch asks >= 77, so pip would quietly take one of years ago: it is installed with --no-deps, and what it
# imports is named here (`more`). This file and requirements-py311.txt go when Python 3.11 goes.

# shellcheck disable=SC2034  # both are for install_packages.sh
pins=${TOOLS}/requirements-py311.txt

# What ESPnet 202511's enhancement task, its stock inference and s3prl's experts import. The last two lines are its
# phoneme and text side, imported and never called here.
# shellcheck disable=SC2034
more=(setuptools torchaudio packaging typeguard humanfriendly ConfigArgParse kaldiio h5py librosa hydra-core
    torch-complex ci_sdr einops protobuf sentencepiece opt_einsum cloudpickle joblib
    g2p-en Distance inflect nltk jamo jaconv Unidecode)

# install_espnet_202511: ESPnet and s3prl themselves, where they are missing or tools/venv has other versions.
install_espnet_202511() {
    local name wanted=()
    for name in espnet espnet-s3prl espnet_tts_frontend; do
        [[ ${OWN_ENV} == 0 ]] && has_package "${name}" && continue
        wanted+=("$(grep "^${name}==" "${TOOLS}/requirements-py311.txt")")
    done
    ((${#wanted[@]} == 0)) || pip_run install --no-deps "${wanted[@]}"
    [[ ${OWN_ENV} == 0 ]] || stand_ins
}

# stand_ins: g2p_en asks the network for NLTK data at every import until two archives are there. Empty ones, in our
# own environment only, keep imports quick and quiet offline.
stand_ins() {
    "${PY}" - <<'END'
import sys, zipfile
from pathlib import Path

for name in ("taggers/averaged_perceptron_tagger", "corpora/cmudict"):
    path = Path(sys.prefix) / "nltk_data" / f"{name}.zip"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{path.stem}/README", "A stand-in: remove this file to let g2p_en fetch the data.\n")
END
}
