"""Files: every rate, format and length comes back as it was; bad ones are named."""

import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se import Enhancer
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.audio_stream import AudioInput, audio_output
from featnorm_se.inference.jobs import Job, enhance_file
from featnorm_se.inference.windows import Windowing


@pytest.fixture(scope="module")
def enhancer(tiny_experiment):
    return Enhancer.from_pretrained(tiny_experiment)


def write(path: Path, seconds=1.0, rate=16000, channels=1, subtype=None, level=0.1) -> Path:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(round(seconds * rate), channels)).clip(-5, 5) * level
    container = "OGG" if path.suffix == ".opus" else None
    with soundfile.SoundFile(path, "w", rate, channels, subtype, format=container) as handle:
        handle.write(x)
    return path


FILES = [
    *(("x.wav", rate, 1, "PCM_16") for rate in (8000, 11025, 16000, 44100, 96000)),
    ("x.wav", 44100, 5, "PCM_24"),
    *(("x.wav", 48000, 1, subtype) for subtype in ("PCM_U8", "PCM_32", "FLOAT")),
    *(("x.wav", 8000, 1, subtype) for subtype in ("ULAW", "GSM610")),
    ("x.flac", 44100, 2, "PCM_24"),
    ("x.ogg", 44100, 2, "VORBIS"),
    ("x.opus", 48000, 1, "OPUS"),
    ("x.mp3", 44100, 2, "MPEG_LAYER_III"),
    ("x.aiff", 16000, 1, "PCM_16"),
    ("x.w64", 16000, 1, "DOUBLE"),
]


@pytest.mark.parametrize(("name", "rate", "channels", "subtype"), FILES)
def test_rate_length_and_format_come_back(enhancer, tmp_path, name, rate, channels, subtype):
    source = write(tmp_path / name, 0.7 + 3 / rate, rate, channels, subtype)
    target = tmp_path / "out" / name
    enhance_file(enhancer, Job(source, target))
    for field in ("samplerate", "channels", "frames", "format", "subtype"):
        old, new = (getattr(soundfile.info(path), field) for path in (source, target))
        assert old == new, field
    y, _ = soundfile.read(target, always_2d=True)
    heard = enhancer(soundfile.read(source, always_2d=True, dtype="float32")[0], rate)
    coarse = {"PCM_U8": 0.01, "ULAW": 0.02, "VORBIS": 0.1}
    coarse |= dict.fromkeys(("GSM610", "OPUS", "MPEG_LAYER_III"), 0.3)
    assert np.abs(y - heard).max() < coarse.get(subtype, 1e-4)
    assert 0.01 < y.std() < 0.12


@pytest.mark.parametrize(("seconds", "level"), [(1 / 16000, 0.1), (0.02, 0.1), (1.0, 0.0)])
def test_short_files_and_silence(enhancer, tmp_path, seconds, level):
    source = write(tmp_path / "x.wav", seconds, level=level)
    enhance_file(enhancer, Job(source, tmp_path / "y.wav"))
    y = soundfile.read(tmp_path / "y.wav", dtype="int16")[0]
    assert len(y) == round(seconds * 16000)
    assert level or not y.any()


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_texts_are_kept(enhancer, tmp_path, ending):
    source, target = tmp_path / f"x.{ending}", tmp_path / f"y.{ending}"
    with soundfile.SoundFile(source, "w", 16000, 1) as handle:
        handle.title, handle.artist, handle.comment = "An interview", "N. N.", "first, with ä"
        handle.write(np.zeros(3000))
    enhance_file(enhancer, Job(source, target))
    with soundfile.SoundFile(target) as handle:
        texts = (handle.title, handle.artist, handle.comment)
    assert texts == ("An interview", "N. N.", "first, with ä")


@pytest.mark.parametrize(
    ("name", "subtype", "wanted"),
    [
        ("x.wav", "PCM_24", {"flac": "PCM_24", "ogg": "VORBIS", "opus": "OPUS"}),
        # What 16 bits would cut keeps 24 where the container has no more.
        ("x.wav", "FLOAT", {"flac": "PCM_24", "sph": "PCM_24", "aiff": "FLOAT"}),
        ("x.wav", "PCM_32", {"flac": "PCM_24"}),
        ("x.mp3", None, {"wav": "PCM_16", "w64": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS"}),
        ("x.ogg", "VORBIS", {"opus": "OPUS", "oga": "VORBIS", "wav": "PCM_16"}),
        ("x.opus", "OPUS", {"ogg": "OPUS", "flac": "PCM_16"}),
    ],
)  # fmt: skip
def test_another_ending_is_another_format(tmp_path, name, subtype, wanted):
    source = AudioInput(write(tmp_path / name, subtype=subtype))
    for ending, kept in wanted.items():
        with audio_output(tmp_path / f"y.{ending}", source) as write_block:
            write_block(np.zeros((16000, 1), np.float32))
        assert soundfile.info(tmp_path / f"y.{ending}").subtype == kept, ending


@pytest.mark.parametrize(("subtype", "clipped"), [("PCM_16", 2), ("FLOAT", 0)])
def test_clipped_samples_are_counted_and_floats_are_not_clipped(tmp_path, subtype, clipped):
    source = AudioInput(write(tmp_path / "x.wav", subtype=subtype))
    with audio_output(tmp_path / "y.wav", source) as write_block:
        assert write_block(np.float32([[0.5], [1.5], [-2.0], [1.0]])) == clipped
    wanted = [0.5, 1, -1, 1] if clipped else [0.5, 1.5, -2, 1]
    np.testing.assert_allclose(soundfile.read(tmp_path / "y.wav")[0], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan.wav", "nan.wav holds NaN"),
        ("odd.wav", "odd.wav is cut short: .* 640000"),
        ("odd.aiff", "odd.aiff is cut short: .* 640008"),
        ("odd.flac", "odd.flac (is cut short|cannot be read)"),
    ],
)
def test_bad_files_are_named_and_leave_nothing(enhancer, tmp_path, name, message):
    source = tmp_path / name
    if name == "nan.wav":
        x = np.zeros(300_000, np.float32)
        x[250_000] = np.nan
        soundfile.write(source, x, 16000, "FLOAT")
    else:
        write(source, 20.0)
        source.write_bytes(source.read_bytes()[:200_000])
    with pytest.raises(FeatnormError, match=message):
        enhance_file(enhancer, Job(source, tmp_path / "out" / "y.wav"))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "opus", "mp3"])
def test_a_disk_that_is_full_at_the_close_leaves_nothing(tmp_path, ending):
    source, target = AudioInput(write(tmp_path / "x.wav")), tmp_path / "out" / f"y.{ending}"
    block = np.concatenate([*source.blocks()])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with audio_output(target, source) as write_block:
        write_block(block)
    assert soundfile.info(target).frames == 16000
    size = target.stat().st_size
    target.unlink()
    for room in (size - 9, size // 2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(FeatnormError, match="disk full"), audio_output(target, source) as y:
                y(block)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(target.parent.iterdir())


class Halving:
    """In place of a network, so that half an hour takes seconds."""

    def __init__(self, real: Enhancer) -> None:
        self.separator, self.device = real.separator, real.device
        self.high_band = real.high_band

    def enhance(self, waves):
        return [wav * 0.5 for wav in waves]


def test_a_long_file_takes_no_more_memory_than_a_short_one(enhancer, tmp_path):
    """Thirty minutes; at 16 kHz and in float32 they are 115 MB."""
    peaks = []
    for minutes in (1, 30):
        source, target = tmp_path / f"{minutes}.wav", tmp_path / "y.wav"
        block = np.random.default_rng(0).normal(size=480_000) * 0.1
        with soundfile.SoundFile(source, "w", 8000, 1) as handle:
            for _ in range(minutes):
                handle.write(block)
        enhance_file(Halving(enhancer), Job(source, target), Windowing(stats="window"))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert soundfile.info(target).frames == soundfile.info(source).frames == 30 * 480_000
    assert peaks[1] - peaks[0] < 20_000  # kB
    tail, _ = soundfile.read(target, start=29 * 480_000 + 240_000)
    assert np.abs(tail).max() > 0.05
