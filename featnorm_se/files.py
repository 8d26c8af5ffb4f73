"""Files written whole or not at all, their hashes, and two formats read without trust."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` when the block ends well.

    The suffix is kept, since some writers choose their format by it. When the block raises,
    the temporary file is removed and ``path`` stays as it was.

    Args:
        path: the file to write. Its folder is made when it is missing.

    Yields:
        The temporary path to write to.

    Raises:
        FeatnormError: the folder cannot be made or written to.
    """
    target = Path(path)
    # Not the whole name: with what goes before it, it could be too long.
    short = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    temporary = target.with_name(f".{os.getpid()}.tmp.{short}{target.suffix[-16:]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise FeatnormError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers left in a folder that nobody else is writing to now."""
    for leftover in folder.glob(".[0-9]*.tmp.*"):
        leftover.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits.

    Raises:
        FeatnormError: the file cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise FeatnormError(f"cannot read {path}: {error.strerror or error}") from error


def read_arrays(path: str | os.PathLike[str], largest: int, most: int) -> dict[str, Any]:
    """Read an npz's arrays of numbers and text, no further than their bytes go.

    NumPy's own reader asks for the memory that a header promises before it looks for the bytes,
    and hands out objects of Python where it is let.

    Args:
        path: what ``numpy.savez`` wrote.
        largest: bytes that one array may have.
        most: bytes that all of them together may have.

    Returns:
        The arrays by name.

    Raises:
        ValueError: it is another format, or an array is too large or of another kind; or what
            zipfile raises.
    """
    import io
    import math
    import zipfile

    import numpy as np

    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        large = [member.filename for member in members if member.file_size > largest]
        if large or sum(member.file_size for member in members) > most:
            raise ValueError(f"{large[0] if large else 'all of it'} is too large")
        for member in members:
            with archive.open(member) as handle:
                data = io.BytesIO(handle.read(largest + 1))
            version = np.lib.format.read_magic(data)
            if version != (1, 0):
                raise ValueError(f"{member.filename} is of NumPy's format {version}")
            try:
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(data)
            except Exception as error:  # it reads the header as Python, whose errors are many
                raise ValueError(f"{member.filename} has no header of NumPy: {error}") from error
            rest = data.read()
            if dtype.kind not in "fiU" or math.prod(shape) * dtype.itemsize != len(rest):
                raise ValueError(f"{member.filename} is no array of {shape} {dtype}")
            values = np.frombuffer(rest, dtype) if rest else np.zeros(0, dtype)
            name = member.filename.removesuffix(".npy")
            arrays[name] = values.reshape(shape, order="F" if fortran else "C")
    return arrays


_DEEPEST, _LONGEST = 50, 1 << 20  # brackets in brackets, and characters, of a YAML document
_MOST_NODES = 100_000  # values of a YAML document, those that an alias repeats counted again


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Read YAML of plain values: no objects, and no aliases that multiply to millions of values.

    ``1e-4`` is a number, as in YAML 1.2; in YAML 1.1 it would be text, unlike ``1.0e-4``.

    Args:
        text: one document; bytes are UTF-8.
        where: what messages call it.

    Raises:
        FeatnormError: it is no such YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Stops at depths that PyYAML's time grows with faster than with the text."""

        def fetch_flow_collection_start(self, token: Any) -> None:
            if self.flow_level > _DEEPEST:
                raise ValueError("it is nested too deep")
            super().fetch_flow_collection_start(token)

    try:
        if len(text) > _LONGEST:
            raise ValueError(f"it has {len(text)} characters, no configuration has")
        loader = Loader(text.decode("utf-8") if isinstance(text, bytes) else text)
        node = loader.get_single_node()
        if node is not None and _count_nodes(node, {}) > _MOST_NODES:
            raise ValueError(f"its aliases stand for more than {_MOST_NODES} values")
        if node is not None:
            _read_exponents(node, set())
        value = None if node is None else loader.construct_document(node)
        if isinstance(value, dict | list):
            _check_keys(value)
        return value
    except RecursionError as error:
        raise FeatnormError(f"{where} is no YAML: it is nested too deep") from error
    # Its constructors trip over values that do not fit their tags.
    except (yaml.YAMLError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise FeatnormError(f"{where} is no YAML: {told[:300]}") from error


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _read_exponents(node: Any, seen: set[int]) -> None:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node.value, list):
        for item in node.value:
            for part in item if isinstance(item, tuple) else (item,):
                _read_exponents(part, seen)
    elif node.style is None and node.tag.endswith(":str") and _EXPONENT.fullmatch(node.value):
        node.tag = node.tag.removesuffix("str") + "float"


def _check_keys(value: Any) -> None:
    """Refuse groups with other keys than text: ``no: 1`` has the key False."""
    if isinstance(value, dict):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise ValueError(f"the key {str(odd[0])[:40]!r} is no text: put it in quotes")
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list | tuple):
            _check_keys(part)


def _count_nodes(node: Any, known: dict[int, int]) -> int:
    """Count a node and all below it, each as often as it is reached; a loop counts as too many."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES + 1  # until it is counted: whoever meets it now is inside it
        inner = node.value if isinstance(node.value, list) else []
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_count_nodes(part, known) for part in parts)
    return known[id(node)]
