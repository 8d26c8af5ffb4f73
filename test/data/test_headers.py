"""Headers that say less or more than there is: a pipe, a byte too many, a cut."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.data.audio import audio_info, read_any_audio
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.audio_stream import AudioInput

Mend = Callable[[bytes, int], bytes]
SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 8000).astype(np.int16)


def sized(size: int, riff: int | None = None, more: bytes = b"") -> Mend:
    """Say that the samples have so many bytes."""

    def mend(data: bytes, at: int) -> bytes:
        head = data[:4] + (riff or 0).to_bytes(4, "little") if riff is not None else data[:8]
        return head + data[8:at] + size.to_bytes(4, "little") + data[at + 4 :] + more

    return mend


def write(path: Path, mend: Mend, container: str, **how: object) -> Path:
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES, 16000, format=container, **how)
    data = buffer.getvalue()
    path.write_bytes(mend(data, data.index(b"data") + 4 if b"data" in data[:200] else 0))
    return path


HEADERS = {
    "written to a pipe.wav": ("WAV", sized(0xFFFFFFFF, riff=0xFFFFFFFF)),
    "one byte too many.wav": ("WAV", sized(16001)),
    "and it is there.wav": ("WAV", sized(16001, more=b"\0")),
}


@pytest.mark.parametrize("name", HEADERS)
def test_all_samples_are_read_whatever_the_header_says(tmp_path: Path, name: str) -> None:
    container, mend = HEADERS[name]
    path = write(tmp_path / name, mend, container)
    expected = SAMPLES[:, None] / np.float32(32768)
    assert np.array_equal(read_any_audio(path)[0], expected)
    assert audio_info(path).frames == AudioInput(path).header.frames == 8000
    assert np.array_equal(np.concatenate(list(AudioInput(path).blocks())), expected)


def test_what_is_empty_or_cut_stays_so(tmp_path: Path) -> None:
    tail = b"LIST" + (12).to_bytes(4, "little") + b"INFOISFT\0\0\0\0"
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, SAMPLES[:0], 16000)
    for more in (b"", tail):
        empty.write_bytes(empty.read_bytes() + more)
        with pytest.raises(FeatnormError, match="no samples"):
            read_any_audio(empty)
        with pytest.raises(FeatnormError, match="no samples"):
            AudioInput(empty)
    cut = write(tmp_path / "cut.wav", lambda data, at: data[:-2], "WAV")
    with pytest.raises(FeatnormError, match="cut short: its header promises 16000 bytes"):
        read_any_audio(cut)
    # Written to a pipe: no length in the header.
    flac = write(tmp_path / "x.flac", lambda d, at: d[:21] + b"\xf0" + bytes(4) + d[26:], "FLAC")
    for read in (read_any_audio, AudioInput):
        with pytest.raises(FeatnormError, match="does not say how long it is"):
            read(flac)
