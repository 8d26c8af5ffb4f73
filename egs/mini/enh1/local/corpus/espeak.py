"""Synthetic speech by espeak-ng, through the library that the wheel espeakng-loader carries."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.parallel import start_pool
from featnorm_se.errors import FeatnormError

# Values of espeak-ng's public header speak_lib.h.
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH = 1, 3
_POSITION_CHARACTER = 1


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker: espeak's voice name, words a minute, pitch from 0 to 99."""

    name: str
    rate: int
    pitch: int


@dataclass(frozen=True)
class Line:
    """One sentence and who speaks it."""

    voice: Voice
    text: str


def speak(lines: Sequence[Line]) -> tuple[list[NDArray[np.int16]], int]:
    """Speak all lines in order, in a fresh process.

    espeak's output depends on what the same process spoke before; in a process of its own the
    same lines give the same bytes every time.

    Returns:
        One int16 array a line, and the sampling rate in Hz (22050).

    Raises:
        FeatnormError: espeakng-loader is not installed, or a voice is unknown.
    """
    with start_pool(1) as pool:
        return pool.submit(_speak_here, tuple(lines)).result()


def _speak_here(lines: Sequence[Line]) -> tuple[list[NDArray[np.int16]], int]:
    """Do the work of ``speak`` in this process."""
    library, data_path = _load()
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), 0)
    if rate <= 0:
        raise FeatnormError(f"espeak-ng does not start with its data in {data_path}")
    pieces: list[bytes] = []
    callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)

    def receive(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = callback_type(receive)
    library.espeak_SetSynthCallback(callback)
    spoken = []
    for line in lines:
        pieces.clear()
        _speak_line(library, line)
        spoken.append(np.frombuffer(b"".join(pieces), dtype=np.int16))
        if not len(spoken[-1]):
            raise FeatnormError(f"espeak-ng gave no sound for {line}")
    return spoken, int(rate)


def _load() -> tuple[Any, str]:
    """Return the loaded library and the folder of its voices."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise FeatnormError(
            "espeakng-loader is not installed (pip install espeakng-loader): it speaks the mini"
            " corpus; or give recordings with --speech_root and --noise_root"
        ) from error
    try:
        library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    except OSError as error:
        raise FeatnormError(f"espeak-ng's library cannot be loaded: {error}") from error
    return library, str(espeakng_loader.get_data_path())


def _speak_line(library: Any, line: Line) -> None:
    """Let the library speak one line into the callback."""
    if library.espeak_SetVoiceByName(line.voice.name.encode()) != 0:
        raise FeatnormError(f"espeak-ng has no voice named {line.voice.name!r}")
    library.espeak_SetParameter(_RATE, line.voice.rate, 0)
    library.espeak_SetParameter(_PITCH, line.voice.pitch, 0)
    text = line.text.encode() + b"\0"
    library.espeak_Synth(
        text, ctypes.c_size_t(len(text)), 0, _POSITION_CHARACTER, 0, _UTF8, None, None
    )
    library.espeak_Synchronize()
