"""Files: every rate, format and length comes back as it was; bad ones are named."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se import Enhancer
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.audio_file import enhance_file
from featnorm_se.inference.audio_stream import AudioInput
from featnorm_se.inference.longform import Windowing


@pytest.fixture(scope="module")
def enhancer(tiny_experiment):
    return Enhancer.from_pretrained(tiny_experiment)


def write(path: Path, seconds=1.0, rate=16000, channels=1, subtype=None, level=0.1) -> Path:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(round(seconds * rate), channels)).clip(-5, 5) * level
    with soundfile.SoundFile(path, "w", rate, channels, subtype) as handle:
        handle.write(x)
    return path


def both(source: Path, target: Path) -> tuple[soundfile._SoundFileInfo, soundfile._SoundFileInfo]:
    return soundfile.info(source), soundfile.info(target)


FILES = [
    *(("x.wav", rate, 1, "PCM_16") for rate in (8000, 11025, 16000, 22050, 44100, 48000, 96000)),
    ("x.wav", 16000, 2, "PCM_16"),
    ("x.wav", 44100, 5, "PCM_24"),
    *(("x.wav", 48000, 1, subtype) for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT")),
    ("x.wav", 8000, 1, "ULAW"),
    ("x.flac", 44100, 2, "PCM_24"),
    ("x.ogg", 44100, 2, "VORBIS"),
    ("x.opus", 48000, 1, "OPUS"),
    ("x.mp3", 44100, 2, "MPEG_LAYER_III"),
    ("x.aiff", 16000, 1, "PCM_16"),
    ("x.w64", 16000, 1, "DOUBLE"),
]


@pytest.mark.parametrize(("name", "rate", "channels", "subtype"), FILES)
def test_rate_length_channels_and_format_come_back(
    enhancer, tmp_path, name, rate, channels, subtype
):
    source, target = tmp_path / name, tmp_path / "out" / name
    rng = np.random.default_rng(5)
    x = rng.normal(size=(round(0.7 * rate) + 3, channels)) * 0.1
    container = "OGG" if name.endswith("opus") else None
    with soundfile.SoundFile(source, "w", rate, channels, subtype, format=container) as handle:
        handle.write(x)
    enhance_file(enhancer, AudioInput(source), target)
    for field in ("samplerate", "channels", "frames", "format", "subtype"):
        old, new = (getattr(info, field) for info in both(source, target))
        assert old == new, field
    y, _ = soundfile.read(target, always_2d=True)
    heard = enhancer(soundfile.read(source, always_2d=True, dtype="float32")[0], rate)
    coarse = {"PCM_U8": 0.01, "ULAW": 0.02, "VORBIS": 0.1, "OPUS": 0.3, "MPEG_LAYER_III": 0.3}
    assert np.abs(y - heard).max() < coarse.get(subtype, 1e-4)
    assert 0.01 < y.std() < 0.12


@pytest.mark.parametrize("seconds", [1 / 16000, 0.02])
def test_short_files(enhancer, tmp_path, seconds):
    source = write(tmp_path / "x.wav", seconds)
    enhance_file(enhancer, AudioInput(source), tmp_path / "y.wav")
    assert both(source, tmp_path / "y.wav")[0].frames == both(source, tmp_path / "y.wav")[1].frames


def test_silence_stays_silence(enhancer, tmp_path):
    source = write(tmp_path / "x.wav", level=0.0)
    enhance_file(enhancer, AudioInput(source), tmp_path / "y.wav")
    assert not soundfile.read(tmp_path / "y.wav", dtype="int16")[0].any()


def test_texts_are_kept(enhancer, tmp_path):
    for name in ("x.wav", "x.flac", "x.ogg"):
        source, target = tmp_path / name, tmp_path / f"y{name[1:]}"
        with soundfile.SoundFile(source, "w", 16000, 1) as handle:
            handle.title, handle.artist, handle.comment = "An interview", "N. N.", "first, with ä"
            handle.write(np.zeros(3000))
        enhance_file(enhancer, AudioInput(source), target)
        with soundfile.SoundFile(target) as handle:
            told = (handle.title, handle.artist, handle.comment)
        assert told == ("An interview", "N. N.", "first, with ä"), name


def test_another_ending_is_another_format(enhancer, tmp_path):
    source = write(tmp_path / "x.wav", subtype="PCM_24")
    for name, wanted in (("y.flac", "PCM_24"), ("y.ogg", "VORBIS"), ("y.opus", "OPUS")):
        enhance_file(enhancer, AudioInput(source), tmp_path / name)
        assert soundfile.info(tmp_path / name).subtype == wanted
    with pytest.raises(FeatnormError, match=r"no format '\.docx'"):
        enhance_file(enhancer, AudioInput(source), tmp_path / "y.docx")


def test_noise_and_speech_add_up_to_the_input(enhancer, tmp_path):
    source = write(tmp_path / "x.wav", 5.0, 44100, 2, "FLOAT")
    target, noise = tmp_path / "y.wav", tmp_path / "y.noise.wav"
    enhance_file(enhancer, AudioInput(source), target, noise, Windowing(4, 1))
    x, y, n = (soundfile.read(path, dtype="float32")[0] for path in (source, target, noise))
    assert n.std() > 0.01
    np.testing.assert_allclose(y + n, x, atol=1e-6)


def test_clipping_is_counted_and_floats_are_not_clipped(enhancer, tmp_path):
    for subtype in ("FLOAT", "PCM_16"):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(8000, 1)).astype(np.float32)
        path = tmp_path / "x.wav"
        soundfile.write(path, x.clip(-1, 1) if subtype == "PCM_16" else x * 9, 16000, subtype)
        noise = tmp_path / "n.wav"
        done = enhance_file(enhancer, AudioInput(path), tmp_path / "y.wav", noise)
        peak = np.abs(soundfile.read(tmp_path / "y.wav")[0]).max()
        assert (peak > 1) == (subtype == "FLOAT")
        if subtype == "FLOAT":
            assert done.clipped == 0


def test_clipped_samples_are_counted(tmp_path):
    from featnorm_se.inference.audio_stream import audio_output

    source = AudioInput(write(tmp_path / "x.wav"))
    with audio_output(tmp_path / "y.wav", source.header) as output:
        output.write(np.float32([[0.5], [1.5], [-2.0], [1.0]]))
    assert output.clipped == 2
    y = soundfile.read(tmp_path / "y.wav")[0]
    np.testing.assert_allclose(y, [0.5, 1, -1, 1], atol=1e-4)


def nan_file(path: Path) -> Path:
    x = np.zeros(300_000, np.float32)
    x[250_000] = np.nan
    soundfile.write(path, x, 16000, "FLOAT")
    return path


def text_file(path: Path) -> Path:
    path.write_text("This is no audio.\n" * 99)
    return path


def empty_audio(path: Path) -> Path:
    return write(path, 0.0)


def no_bytes(path: Path) -> Path:
    path.touch()
    return path


def link_to_itself(path: Path) -> Path:
    path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (nan_file, "holds NaN"),
        (text_file, "is no audio"),
        (empty_audio, "has no samples"),
        (no_bytes, "is empty"),
        (link_to_itself, "link that leads to no file"),
    ],
)
def test_bad_files_are_named_and_leave_nothing(enhancer, tmp_path, make, told):
    path = make(tmp_path / "odd.wav")
    with pytest.raises(FeatnormError, match=rf"odd\.wav.*{told}|{told}.*odd\.wav"):
        enhance_file(enhancer, AudioInput(path), tmp_path / "out" / "y.wav")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("ending", ["wav", "aiff"])
def test_cut_files_whose_header_libsndfile_mends_are_told(tmp_path, ending):
    path = write(tmp_path / f"odd.{ending}", 20.0)
    path.write_bytes(path.read_bytes()[:300_000])
    with pytest.raises(FeatnormError, match=rf"odd\.{ending} is cut short: .* (640000|640008)"):
        AudioInput(path)


def test_a_wav_that_was_written_to_a_pipe_is_whole(tmp_path):
    path = write(tmp_path / "piped.wav")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert AudioInput(path).header.frames == 16000


def test_a_cut_flac_is_told(enhancer, tmp_path):
    path = write(tmp_path / "odd.flac", 20.0)
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(FeatnormError, match=r"odd\.flac (is cut short|cannot be read)"):
        enhance_file(enhancer, AudioInput(path), tmp_path / "y.flac")
    assert not (tmp_path / "y.flac").exists()


@pytest.mark.parametrize("target", ["/proc/none/y.wav", "x.wav/y.wav"])
def test_an_output_that_cannot_be_written_is_named(enhancer, tmp_path, target):
    source = write(tmp_path / "x.wav")
    with pytest.raises(FeatnormError, match=r"cannot write .*y\.wav"):
        enhance_file(enhancer, AudioInput(source), tmp_path / target)


def test_a_full_disk_is_told(enhancer, tmp_path, monkeypatch):
    source = write(tmp_path / "x.wav")

    def full(self, data):
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(FeatnormError, match="disk full"):
        enhance_file(enhancer, AudioInput(source), tmp_path / "y.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


def test_a_file_gives_what_the_array_gives(enhancer, tmp_path):
    source = write(tmp_path / "x.wav", 9.0, 44100, 2, "FLOAT")
    enhance_file(enhancer, AudioInput(source), tmp_path / "y.wav", windowing=Windowing(4, 1))
    x, _ = soundfile.read(source, dtype="float32")
    y, _ = soundfile.read(tmp_path / "y.wav", dtype="float32")
    np.testing.assert_allclose(y, enhancer(x, 44100, Windowing(4, 1)), atol=3e-6)


class Halving:
    """In place of a network, so that half an hour takes seconds."""

    def __init__(self, real: Enhancer) -> None:
        self.separator, self.encoder, self.device = real.separator, real.encoder, real.device
        self.precision = real.precision

    def enhance(self, wav):
        return wav * 0.5


def test_a_long_file_takes_no_more_memory_than_a_short_one(enhancer, tmp_path):
    """Thirty minutes; at 16 kHz and in float32 they are 115 MB, and the file is read four times."""
    peaks = []
    for minutes in (1, 30):
        source = tmp_path / f"{minutes}.wav"
        block = np.random.default_rng(0).normal(size=480_000) * 0.1
        with soundfile.SoundFile(source, "w", 8000, 1) as handle:
            for _ in range(minutes):
                handle.write(block)
        target = tmp_path / "y.wav"
        windowing = Windowing(stats="window")
        enhance_file(Halving(enhancer), AudioInput(source), target, windowing=windowing)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert soundfile.info(target).frames == soundfile.info(source).frames == 30 * 480_000
    assert peaks[1] - peaks[0] < 20_000  # kB
    tail, _ = soundfile.read(target, start=29 * 480_000 + 240_000)
    assert np.abs(tail).max() > 0.05
