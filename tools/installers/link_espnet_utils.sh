#!/usr/bin/env bash
# Step 3: Kaldi's utils/ (parse_options.sh, run.pl, slurm.pl, ...) from ESPnet's source distribution, by link.
# The wheels have none of it, and it is never copied into this repository.
# shellcheck source=tools/installers/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

VERSION=202611
SHA256=eb5816c4d2e4a18eaa2afacc2f8cf74f93e5534dec0fdcee0b2c89b6f7ddd1fd
ARCHIVE=${TOOLS}/downloads/espnet-${VERSION}.tar.gz
UTILS=espnet-${VERSION}/egs2/TEMPLATE/asr1/utils

is_whole() { [[ -f ${ARCHIVE} ]] && sha256sum --status -c <<<"${SHA256}  ${ARCHIVE}"; }

# pip checks the sum before it opens the archive, so a wrong one runs nothing.
download() {
    scratch
    printf 'espnet==%s --hash=sha256:%s\n' "${VERSION}" "${SHA256}" >"${SCRATCH}/source.txt"
    pip_run download --no-deps --no-binary :all: --ignore-requires-python --no-build-isolation --require-hashes \
        -r "${SCRATCH}/source.txt" -d "${SCRATCH}" ||
        die "espnet ${VERSION}'s source could not be fetched; put espnet-${VERSION}.tar.gz into tools/downloads/ by hand, or run make setup again"
    mkdir -p "${TOOLS}/downloads"
    mv -f "${SCRATCH}/espnet-${VERSION}.tar.gz" "${ARCHIVE}"
}

begin "Kaldi's utils/ from ESPnet ${VERSION}'s source (36 MB)"
if is_whole; then
    say "tools/downloads has it"
else
    download
    is_whole || die "${ARCHIVE} is not the expected file (SHA-256 differs): remove it and run make setup again"
fi
cd "${TOOLS}"
rm -rf "espnet-${VERSION}.part"
mkdir "espnet-${VERSION}.part"
tar -xzf "${ARCHIVE}" -C "espnet-${VERSION}.part" --strip-components=1 "${UTILS}" "espnet-${VERSION}/LICENSE"
rm -rf "espnet-${VERSION}"
mv "espnet-${VERSION}.part" "espnet-${VERSION}"
ln -sfn "${UTILS}" utils
say "tools/utils -> ${UTILS}"
finish
