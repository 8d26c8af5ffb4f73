"""Audio files of any length, read and written in blocks, with what their headers say."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from featnorm_se.data.audio import FloatArray, naming, open_audio, read_blocks, rounded
from featnorm_se.data.decoding import AUDIO_SUFFIXES
from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path

# Endings that libsndfile has no format of.
_FORMATS = {"OGA": "OGG", "OPUS": "OGG", "AIF": "AIFF", "AIFC": "AIFF", "SND": "AU", "SPH": "NIST"}
# Containers that go by another one's ending.
_ALIKE = {"WAVEX": "WAV", "RF64": "WAV", "W64": "WAV", "NIST": "WAV"}
_UNBOUNDED = ("FLOAT", "DOUBLE")  # sample formats that hold values beyond full scale
_FINE = (*_UNBOUNDED, "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32")  # more than 16 bits
AUDIO_ENDINGS = " ".join(sorted(AUDIO_SUFFIXES))


class AudioInput:
    """An audio file that can be read several times, in blocks.

    Attributes:
        header: a closed file of soundfile's, with frames, samplerate (Hz), channels, format,
            subtype and endian.
        texts: title, artist, comment and so on.

    Raises:
        FeatnormError: there is no such file, libsndfile does not read it, or it is empty or
            cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_audio(path) as self.header:
            self.texts: dict[str, str] = self.header.copy_metadata()
        if self.header.frames < 1:
            raise FeatnormError(f"{path} has no samples")

    def blocks(self) -> Iterator[FloatArray]:
        """Read from the beginning: (n, channels) float32 blocks, n at most 65,536.

        Raises:
            FeatnormError: the file is cut short or holds NaN or infinite samples.
        """
        with open_audio(self.path) as handle:
            yield from read_blocks(handle, self.path, self.header.frames)


@contextmanager
def audio_output(path: Path, like: AudioInput) -> Iterator[Callable[[FloatArray], int]]:
    """Write a file like another one, whole or not at all.

    The container goes by the name's ending; with the ending of the other's container it is the
    same. The sample format is kept where the container has it, and so are the texts.

    Yields:
        What writes a block (n, channels) and returns how many samples were beyond full scale and
        are clipped.

    Raises:
        FeatnormError: no such container, or the file cannot be written (the disk is full, say).
    """
    import soundfile

    header = like.header
    container, subtype = _choose_format(path, header)
    endian = header.endian if container == header.format else None
    rate, channels = header.samplerate, header.channels

    def write(block: FloatArray) -> int:
        beyond = 0 if subtype in _UNBOUNDED else int((np.abs(block) > 1.0).sum())
        block = block.clip(-1.0, 1.0) if beyond else block
        with naming(f"cannot write {path} (disk full?)"):
            handle.write(rounded(block, subtype))
        return beyond

    with atomic_path(path) as temporary:
        temporary.touch()  # or libsndfile would only say "system error"
        file = os.fsencode(temporary)
        with naming(f"cannot write {path} ({container}, {subtype})"):
            handle = soundfile.SoundFile(file, "w", rate, channels, subtype, endian, container)
        with handle:
            for name, text in like.texts.items():
                with suppress(RuntimeError):  # containers differ in which texts they have
                    setattr(handle, name, text)
            yield write
        # What it cannot write at the close libsndfile does not tell, and the header may lie.
        # A short one is read from its begin: mpg123 prints complaints where it is sought in.
        frames, last = handle.frames, min(handle.frames, 1 << 20)
        if container != "RAW":  # which has no header
            with naming(f"cannot write {path} (disk full?)"), soundfile.SoundFile(file) as y:
                if y.seekable():
                    y.seek(frames - last)
                else:  # GSM and other codecs of telephones, which fill up their last block
                    last = frames
                if y.frames < frames or len(y.read(last, dtype="int16")) < last:
                    raise RuntimeError("its end does not read back")


def _choose_format(path: Path, header: Any) -> tuple[str, str]:
    """Return the container and the sample format for a file's name."""
    import soundfile

    ending = path.suffix[1:].upper()
    container = _FORMATS.get(ending, ending)
    if container not in soundfile.available_formats():
        problem = f"there is no format {path.suffix!r}" if ending else "its name has no ending"
        raise FeatnormError(f"cannot write {path}: {problem}; give one of {AUDIO_ENDINGS}")
    if container == _ALIKE.get(header.format):
        container = header.format
    if ending == "OPUS":
        return container, ending
    default = str(soundfile.default_subtype(container))
    # In other containers libsndfile reads MPEG layers but does not write them.
    if header.subtype.startswith("MPEG") and container != "MP3":
        return container, default
    wanted = [header.subtype, *(["PCM_24"] if header.subtype in _FINE else [])]
    kept = [subtype for subtype in wanted if soundfile.check_format(container, subtype)]
    return container, [*kept, default][0]
