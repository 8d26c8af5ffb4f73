"""egs/mini/enh1/local: more_noise.py (recordings, variants, babble) and more_tests.sh."""

import shlex
import subprocess
from pathlib import Path

import numpy as np
import soundfile

RECIPE = Path(__file__).parents[3] / "egs" / "mini" / "enh1"


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Run more_noise.py as the shipped model's card says."""
    line = f". ./path.sh && local/more_noise.py {shlex.join(words)}"
    return subprocess.run(["bash", "-c", line], cwd=RECIPE, capture_output=True, text=True)


def test_every_recording_comes_with_variants_and_babble(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, names in (("noise", "ab"), ("speech", "cdefghijklmno")):
        (tmp_path / folder).mkdir()
        for name in names:
            samples = rng.normal(size=16000) * 0.02
            soundfile.write(tmp_path / folder / f"{name}.flac", samples, 16000)
    options = ("--variants", "2", "--babbles", "1")
    words = [str(tmp_path / folder) for folder in ("noise", "speech", "out")]
    done = call(*words, *options)
    assert done.returncode == 0, done.stderr
    made = {path.stem: soundfile.read(path)[0] for path in (tmp_path / "out").iterdir()}
    assert set(made) == {"a", "b", "a-v0", "a-v1", "b-v0", "b-v1", "babble-0"}
    for name, samples in made.items():
        assert abs(20 * np.log10(np.sqrt(np.mean(samples**2)) / 0.05)) < 1.5, name
    assert not np.array_equal(made["a"][:8000], made["a-v0"][:8000])
    assert call(*words[:2], str(tmp_path / "twin"), *options).returncode == 0
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "twin" / path.name).read_bytes()
