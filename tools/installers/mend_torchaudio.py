"""Make torchaudio loadable with a CPU-only torch.

The newest torchaudio's compiled extension is linked against CUDA's libraries. Nothing we use needs
it; without the file, torchaudio falls back to its Python code.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

EXTENSION = "lib/_torchaudio.abi3.so"


def try_import() -> str:
    """Import torchaudio in a fresh interpreter.

    Returns:
        The last line of what it printed on failing, empty when it loads.
    """
    done = subprocess.run(
        [sys.executable, "-c", "import torchaudio"], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it crashed"])[-1]


def mend(package: Path, error: str) -> Path:
    """Move the compiled extension aside when it is what fails.

    Args:
        package: torchaudio's folder.
        error: What importing it said.

    Returns:
        Where the extension is now.

    Raises:
        SystemExit: If the failure is another one.
    """
    extension = package / EXTENSION
    if not extension.exists() or not error.startswith("OSError"):
        sys.exit(f"set-up: error: torchaudio does not load: {error}")
    return extension.rename(extension.with_name(extension.name + ".off"))


def main() -> None:
    """Test, mend, test again."""
    error = try_import()
    if error:
        spec = importlib.util.find_spec("torchaudio")
        if spec is None or spec.origin is None:
            sys.exit("set-up: error: torchaudio is not installed: run make setup again")
        print(f"       it does not: {error}")
        aside = mend(Path(spec.origin).parent, error)
        print(
            f"       its compiled extension wants CUDA, torch has none: moved aside to {aside.name}"
        )
        error = try_import()
        if error:
            sys.exit(f"set-up: error: torchaudio still does not load: {error}")
    print("       it loads")


if __name__ == "__main__":
    main()
