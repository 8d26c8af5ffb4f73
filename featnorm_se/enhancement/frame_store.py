"""Features of a long file on disk, so that a second pass need not compute them again."""

from __future__ import annotations

import tempfile
from types import TracebackType

import numpy as np

from featnorm_se.data.audio import FloatArray
from featnorm_se.errors import FeatnormError


class FrameStore:
    """Frames of several channels of audio in a temporary file that vanishes with its owner.

    A file, and not memory, since an hour of a Base model's takes 370 MB.

    Args:
        frames: of every audio channel.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.width = 0
        self._handle = tempfile.TemporaryFile()  # noqa: SIM115  # closed by ``close``

    def write(self, channel: int, first: int, x: FloatArray) -> None:
        """Put x (T, D) at frame ``first`` of an audio channel.

        Raises:
            FeatnormError: the disk is full.
        """
        self.width = x.shape[1]
        try:
            self._handle.seek(4 * self.width * (channel * self.frames + first))
            self._handle.write(np.ascontiguousarray(x, dtype=np.float32).tobytes())
        except OSError as error:
            raise FeatnormError(
                f"cannot keep features in {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to"
                " a larger disk, or give --stats window"
            ) from error

    def read(self, channel: int, first: int, frames: int) -> FloatArray:
        """Return (frames, D) from frame ``first`` of an audio channel."""
        self._handle.seek(4 * self.width * (channel * self.frames + first))
        data = bytearray(self._handle.read(4 * self.width * frames))
        return np.frombuffer(data, dtype=np.float32).reshape(frames, self.width)

    def __enter__(self) -> FrameStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()
