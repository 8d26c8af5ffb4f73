"""``featnorm-se app``: a recording goes to the page and comes back, with no network."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se import Enhancer


@pytest.fixture
def app(tiny_experiment: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, whose way out is a proxy that is not there."""
    pytest.importorskip("gradio")
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "featnorm_se.bin.main", "app", "--model", str(tiny_experiment)]
    (tmp_path / "kept").mkdir()
    environment = {**os.environ, **nowhere, "OMP_NUM_THREADS": "1"}
    environment["TMPDIR"] = str(tmp_path / "kept")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as running:
        yield running
        running.terminate()
        running.communicate()
    assert running.returncode == 143
    assert not list((tmp_path / "kept").glob("tmp*"))  # nobody's recordings stay


def test_a_file_is_uploaded_and_comes_back_enhanced(app, tiny_experiment, tmp_path):
    from gradio_client import Client, handle_file

    noisy = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1
    expected = Enhancer.from_pretrained(tiny_experiment)(noisy, 16000)
    soundfile.write(tmp_path / "noisy.wav", noisy, 16000, "FLOAT")
    (tmp_path / "bad.wav").write_text("no audio")
    line = app.stderr.readline()
    assert line.startswith("the page is at http://127.0.0.1:"), line + app.stderr.read()
    client = Client(line.split()[4], verbose=False, download_files=str(tmp_path / "got"))
    enhanced, *pictures = client.predict(handle_file(tmp_path / "noisy.wav"), api_name="/enhance")
    samples, rate = soundfile.read(enhanced, dtype="float32")
    assert rate == 16000 and np.allclose(samples, expected, atol=1e-5)
    names = ("noisy.wav", "noisy.enhanced.wav")
    for name, picture in zip(names, pictures, strict=True):
        assert f'aria-label="Spectrogram of {name}"' in picture
    # A bad file: one line in place of the pictures, and the page goes on.
    nothing, told, _ = client.predict(handle_file(tmp_path / "bad.wav"), api_name="/enhance")
    assert nothing is None and "bad.wav is" in told
