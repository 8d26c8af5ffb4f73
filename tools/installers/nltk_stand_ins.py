"""Put empty stand-ins where g2p_en looks for NLTK data, so that importing ESPnet asks no network.

g2p_en (imported by ESPnet, never called by us) downloads two NLTK archives at import when they are
not found.
"""

import sys
import zipfile
from pathlib import Path

ARCHIVES = ("taggers/averaged_perceptron_tagger", "corpora/cmudict")


def write_stand_ins(prefix: Path) -> list[Path]:
    """Write the missing archives under ``prefix/nltk_data``, where NLTK looks in an environment.

    Args:
        prefix: The environment's folder.

    Returns:
        The files written; those that were there are left as they are.
    """
    written = []
    for name in ARCHIVES:
        path = prefix / "nltk_data" / f"{name}.zip"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with zipfile.ZipFile(part, "w") as archive:
            archive.writestr(
                f"{path.stem}/README",
                "A stand-in: remove this file to let g2p_en fetch the data.\n",
            )
        part.replace(path)
        written.append(path)
    return written


if __name__ == "__main__":
    for file in write_stand_ins(Path(sys.prefix)):
        print(f"       stand-in for {file.name}")
