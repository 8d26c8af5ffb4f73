"""Remove the records of packages whose installation was cut, so that pip installs them again.

pip writes INSTALLER after the package's files: metadata without it is what a killed pip leaves,
and pip would take the half-written package as installed.
"""

import shutil
import sysconfig
from pathlib import Path


def drop_cut_installs(site_packages: Path) -> list[str]:
    """Remove every ``*.dist-info`` folder that pip did not finish.

    Args:
        site_packages: The environment's folder of packages.

    Returns:
        The names of the removed folders.
    """
    cut = [d for d in sorted(site_packages.glob("*.dist-info")) if not (d / "INSTALLER").exists()]
    for folder in cut:
        shutil.rmtree(folder)
    return [folder.name for folder in cut]


def main() -> None:
    """Do it in this interpreter's environment."""
    for name in drop_cut_installs(Path(sysconfig.get_path("purelib"))):
        print(f"       {name} was cut before it was whole: it will be installed again")


if __name__ == "__main__":
    main()
