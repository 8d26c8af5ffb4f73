"""The quick STOI gives what the untouched package gives."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from featnorm_se.metrics import fast_stoi
from featnorm_se.metrics.perceptual import CannotScore, stoi

Array = NDArray[np.float64]
HELPERS = ("stft", "remove_silent_frames", "row_col_normalize")


def load_untouched() -> ModuleType:
    """Import a second pystoi with its own helpers, beside the one that was made quick."""
    held = {name: sys.modules.pop(name) for name in list(sys.modules) if name[:6] == "pystoi"}
    import pystoi

    for name in [name for name in sys.modules if name[:6] == "pystoi"]:
        del sys.modules[name]
    sys.modules.update(held)
    return pystoi


@pytest.fixture(scope="module")
def untouched() -> ModuleType:
    package = load_untouched()
    utils = package.stoi.__globals__["utils"]
    assert utils.stft is not fast_stoi._stft
    return package


def test_the_helpers_are_used() -> None:
    utils = fast_stoi.pystoi().stoi.__globals__["utils"]
    assert utils.stft is fast_stoi._stft


@pytest.mark.parametrize("extended", [False, True])
def test_bit_identical_at_10_khz(
    extended: bool, untouched: ModuleType, speech: Array, noisy: Array
) -> None:
    values = []
    for measure in (untouched.stoi, fast_stoi.pystoi().stoi):
        np.random.seed(3)  # noqa: NPY002 (pystoi draws from this generator)
        values.append(measure(speech, noisy, 10000, extended=extended))
    assert values[0] == values[1]
    assert 0.1 < values[0] < 1.0


@pytest.mark.parametrize("rate", [8000, 16000, 16001, 32000, 44100, 48000])
@pytest.mark.parametrize("size", [1, 7, 4801])
def test_resampling_is_the_packages(rate: int, size: int, untouched: ModuleType) -> None:
    signal = np.random.default_rng(size).standard_normal(size)
    expected = untouched.stoi.__globals__["utils"].resample_oct(signal, 10000, rate)
    found = fast_stoi.resample(signal, rate)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("extended", [False, True])
def test_the_score_is_the_packages_to_the_last_digits(
    extended: bool, untouched: ModuleType, speech: Array, noisy: Array
) -> None:
    expected = untouched.stoi(speech, noisy, 16000, extended=extended)
    assert stoi(speech, noisy, 16000, extended) == pytest.approx(expected, abs=1e-12)


def test_another_version_keeps_its_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    fast_stoi.pystoi.cache_clear()
    utils = sys.modules["pystoi.utils"]
    with monkeypatch.context() as patch:
        patch.setattr(fast_stoi, "_VERSION", "another")
        for name in HELPERS:
            patch.setattr(utils, name, None)
        fast_stoi.pystoi()
        assert utils.stft is None  # type: ignore[attr-defined]
    fast_stoi.pystoi.cache_clear()
    fast_stoi.pystoi()


@pytest.mark.parametrize("size", [1, 300, 410, 2000])
def test_too_few_frames_are_told(size: int, speech: Array, noisy: Array) -> None:
    with pytest.raises(CannotScore, match="needs 30 frames"):
        stoi(speech[:size], noisy[:size], 16000)


def test_scipys_signal_room_stays_out_and_works_after() -> None:
    code = (
        "import sys, numpy as np\n"
        "from featnorm_se.metrics.perceptual import stoi\n"
        "x = np.random.default_rng(0).standard_normal(16000)\n"
        "value = stoi(x, x, 16000)\n"
        "assert 'scipy.signal' not in sys.modules, 'loaded'\n"
        "import pystoi, scipy.signal\n"
        "assert callable(scipy.signal.lfilter)\n"
        "assert abs(pystoi.stoi(x, x, 16000) - value) < 1e-12\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_handing_out_work_loads_no_numpy() -> None:
    code = (
        "import sys, featnorm_se.metrics.scoring as s, featnorm_se.metrics.summary as m\n"
        "m.describe([1.0, 2.0, 3.0])\n"
        "assert not {'numpy', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
