"""The table of small models: a model's delay, and frames that give the signal back."""

import compare
import numpy as np
import pytest
import small_models
from golden_numbers import voice

from featnorm_se.data.audio import write_audio


@pytest.fixture
def folders(tmp_path):
    for number in range(2):
        for folder, signal in zip(("clean", "noisy"), voice(16000, number), strict=True):
            write_audio(tmp_path / folder / f"u{number}.flac", signal)
    return tmp_path


def table(capsys, folders, *options):
    """Run the script and return its table's rows and what it told beside."""
    compare.main(
        ["--clean_dir", str(folders / "clean"), "--noisy_dir", str(folders / "noisy")]
        + ["--work", str(folders / "work"), "--no_dnsmos", *options]
    )
    captured = capsys.readouterr()
    lines = [line for line in captured.out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines], captured.err


def test_a_models_delay_is_taken_off(folders, capsys, monkeypatch):
    def process(x):  # gives its input back, 72 samples late
        return np.pad(x, (72, 0))[: len(x)]

    model = compare.Model(lambda: process, 48000, 1_234_567)
    baseline = compare.Baseline("Fake", (), lambda: model, "1 ms")
    monkeypatch.setitem(compare.BASELINES, "dtln", baseline)
    rows, told = table(capsys, folders, "--rows", "noisy", "dtln")
    assert "delay 72 samples at 48000 Hz; 2 files to do" in told
    assert rows[0][:4] == ["model", "latency", "PESQ_WB", "STOI"]
    # Resampled there and back, it is the noisy input again.
    assert float(rows[3][3]) == pytest.approx(float(rows[2][3]), abs=0.003)
    assert rows[3][:2] == ["Fake", "1 ms"] and rows[3][7] == "1.23 M"


@pytest.mark.parametrize("samples", [100, 16000, 16001])
def test_frames_with_nothing_masked_give_the_signal_back(samples):
    x = np.random.default_rng(0).normal(size=samples).astype(np.float32) * 0.1
    np.testing.assert_allclose(small_models.mask_spectrum(x, np.ones_like), x, atol=1e-6)
    y = small_models.dtln(x, np.ones_like, lambda block: block / 4)  # four blocks meet
    np.testing.assert_allclose(y, x, atol=1e-6)
