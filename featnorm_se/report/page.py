"""The report page: one HTML file that opens from disk and needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_text
from featnorm_se.report import markup, sections
from featnorm_se.report.experiments import Experiment, names_of_testsets
from featnorm_se.report.inside import inside
from featnorm_se.report.labels import short_labels

LARGEST_BYTES = 10_000_000
# Tried in this order until the page is small enough: the audio's format, and how many models
# can be heard.
_ATTEMPTS = (("flac", 8), ("mp3", 8), ("mp3", 3), ("mp3", 0))


def write_page(
    experiments: Sequence[Experiment],
    path: str | os.PathLike[str],
    datadir: str | os.PathLike[str],
    title: str = "Results",
) -> None:
    """Write the page, under 10 MB.

    The audio is lossless when there is room, else MP3, else of fewer models.

    Args:
        experiments: as from ``read_experiments``.
        path: the file to write, such as ``report/index.html``.
        datadir: folder of ``<testset>/{wav,spk1}.scp`` for the noisy and clean audio; what is
            not there is left out of the page.
        title: the page's heading.

    Raises:
        FeatnormError: the page cannot be written, or is too large even without audio.
    """
    for kind, limit in _ATTEMPTS:
        page = build_page(experiments, os.fspath(datadir), title, kind, limit)
        if len(page.encode()) < LARGEST_BYTES:
            write_text(path, page)
            return
    raise FeatnormError(
        f"{path} would be over {LARGEST_BYTES // 10**6} MB even without audio: report on fewer"
        " experiments"
    )


def build_page(
    experiments: Sequence[Experiment],
    datadir: str,
    title: str,
    kind: str = "flac",
    limit: int = 8,
) -> str:
    """Return the page's HTML.

    Args:
        experiments: as from ``read_experiments``.
        datadir: folder of the test sets' data directories.
        title: the page's heading.
        kind: the audio's format.
        limit: so many models at most can be heard.
    """
    labels = short_labels(experiments)
    found: list[tuple[str, str, str]] = []
    for number, name in enumerate(names_of_testsets(list(experiments))):
        test = sections.TestSet(name, experiments, labels)
        for anchor, heading, content in (
            ("results", "results", sections.results(test, experiments)),
            ("listen", "listen", sections.examples(test, datadir, kind, limit)),
            ("conditions", "scores by SNR", sections.conditions(test)),
            ("differences", "paired differences", sections.paired(test)),
            ("distributions", "score distributions", sections.distributions(test)),
        ):
            found.append((f"{anchor}-{number}", f"{name}: {heading}", content))
    found.append(("training", "Training curves", sections.training(experiments, labels)))
    found.append(("inside", "Inside the models", inside(experiments, labels)))
    found.append(("provenance", "What the rows stand on", sections.provenance(experiments, labels)))
    return markup.document(title, [section for section in found if section[2]])
