"""ESPnet's enhancement task without what it imports for speech recognition and synthesis.

Importing ``espnet2.tasks.enh`` loads tokenizers, phonemizers, numba and more, which training an
enhancement model never calls. ``postponed_imports`` puts these off, in three ways, all of which
end with the genuine thing:

* a third-party package that ESPnet takes by ``import x`` is found, and loaded when it is asked for
  a name that only its loading defines. (``importlib.util.LazyLoader`` loads at any look at the
  module, such as ``inspect`` takes at all modules when torch makes its first optimizer.)
* a function or class that ESPnet takes by ``from m import f`` and does nothing with but call it
  is bound to a function that imports ``m`` and calls its ``f``;
* a function under ``@typechecked`` gets its checks at its first call, and without typeguard's
  parsing of the whole file anew for each of them.

Modules that are loaded already are left alone, and after the block ``sys.modules`` and the import
system are as they would be without it: whoever imports ``m`` then gets ``m``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any, get_type_hints

import typeguard

# Third-party modules that espnet2.tasks.enh and what it imports take by ``import x``.
LAZY = ("ci_sdr", "fast_bss_eval", "h5py", "librosa", "scipy.integrate", "scipy.signal")

# Modules of ESPnet, and the names that its trainer, tasks and preprocessors only call.
CALLED: Mapping[str, Sequence[str]] = {
    "distutils.util": ["strtobool"],
    "espnet2.layers.augmentation": ["DataAugmentation"],
    "espnet2.layers.create_adapter": ["create_adapter"],
    "espnet2.main_funcs.calculate_all_attentions": ["calculate_all_attentions"],
    "espnet2.text.build_tokenizer": ["build_tokenizer"],
    "espnet2.text.cleaner": ["TextCleaner"],
    "espnet2.text.hugging_face_token_id_converter": ["HuggingFaceTokenIDConverter"],
    "espnet2.text.qwen2audio_tokenizer": ["Qwen2AudioTokenizer"],
    "espnet2.text.whisper_token_id_converter": ["OpenAIWhisperTokenIDConverter"],
    "espnet2.text.whisper_tokenizer": ["OpenAIWhisperTokenizer"],
}


@contextmanager
def postponed_imports(
    lazy: Sequence[str] = LAZY, called: Mapping[str, Sequence[str]] = CALLED
) -> Iterator[None]:
    """Put off the imports of ``lazy`` and ``called`` that are made inside the block.

    Args:
        lazy: modules to load at the first use of an attribute.
        called: modules, each with its names that are only called.
    """
    stand_ins = {m: _stand_in(m, names) for m, names in called.items() if m not in sys.modules}
    finder = _LazyFinder(lazy)
    typechecked = typeguard.typechecked
    sys.modules.update(stand_ins)
    sys.meta_path.insert(0, finder)
    typeguard.typechecked = _checked_later
    try:
        yield
    finally:
        typeguard.typechecked = typechecked
        sys.meta_path.remove(finder)
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _LazyFinder(MetaPathFinder):
    """Finds the modules of a list where they always are, to be loaded at their first use."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's own spec with a lazy loader, ``None`` for any other module."""
        if fullname not in self.names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _LazyLoader(spec.loader)
        return spec


class _LazyLoader(Loader):
    """Gives a module that its own loader executes at its first use."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Put the execution off."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        module.__class__ = _LazyModule


class _LazyModule(ModuleType):
    """A module with its name, file and path, but not executed yet."""

    def __getattr__(self, name: str) -> Any:
        with _LOCK:  # which this thread may hold already, when the module asks for itself
            if isinstance(self, _LazyModule):  # or another thread has loaded it meanwhile
                if "__executing__" in self.__dict__:
                    raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
                self._execute()
        return getattr(self, name)

    def _execute(self) -> None:
        assert self.__spec__ is not None and self.__spec__.loader is not None
        self.__dict__["__executing__"] = True
        try:
            self.__spec__.loader.exec_module(self)
        finally:
            del self.__dict__["__executing__"]
        self.__class__ = ModuleType  # type: ignore[assignment]


_LOCK = RLock()


def _stand_in(name: str, names: Sequence[str]) -> ModuleType:
    module = ModuleType(name)
    for called in names:
        setattr(module, called, _importing(name, called))
    return module


def _importing(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports ``module`` and calls its ``name``."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(module), name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__module__ = module
    return call


_typechecked = typeguard.typechecked


def _checked_later(target: Any = None, **options: Any) -> Any:
    """Stand in for typeguard's decorator: hold arguments and result against their types.

    What typeguard makes of a function also checks its local variables, and to make it the whole
    file is parsed and compiled for each function: most of a second for an ESPnet task.
    """
    if not isinstance(target, FunctionType) or options:
        return _typechecked(target, **options)
    found: list[Callable[..., Any]] = []

    @wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not found:
            found.append(_checked(target))
        return found[0](*args, **kwargs)

    return call


def _checked(target: FunctionType) -> Callable[..., Any]:
    """Return the function with checks of its arguments and its result by typeguard."""
    try:
        hints = get_type_hints(target)
    except (NameError, TypeError, AttributeError):  # names that only a type checker sees
        checked: Callable[..., Any] = _typechecked(target)
        return checked
    signature = inspect.signature(target)
    parameters = [p for p in signature.parameters.values() if p.name in hints]

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return target(*args, **kwargs)  # which says what is wrong
        for parameter in parameters:
            if parameter.name in given:
                _check_argument(parameter, given[parameter.name], hints[parameter.name])
        result = target(*args, **kwargs)
        return typeguard.check_type(result, hints["return"]) if "return" in hints else result

    return call


def _check_argument(parameter: inspect.Parameter, value: Any, hint: Any) -> None:
    if value is parameter.default:
        return
    values = [value]
    if parameter.kind is parameter.VAR_POSITIONAL:
        values = list(value)
    elif parameter.kind is parameter.VAR_KEYWORD:
        values = list(value.values())
    for one in values:
        try:
            typeguard.check_type(one, hint)
        except typeguard.TypeCheckError as error:
            error.append_path_element(f'argument "{parameter.name}"')
            raise


def postpone_compiler() -> None:
    """Put off torch's compiler until it is asked for more than every training asks it for.

    An optimizer calls ``torch._dynamo.disable`` on functions that are not to be compiled and
    ``graph_break`` in each step, and so imports a second or two of Python and 70 MiB. As long as
    nothing is compiled both have nothing to do. Any other use of the module, or of one inside
    it, loads it first, and then those functions are handed to the genuine ``disable``.
    """
    if _COMPILER in sys.modules:
        return
    finder = _LazyFinder([_COMPILER])
    sys.meta_path.insert(0, finder)
    try:
        module = import_module(_COMPILER)
    finally:
        sys.meta_path.remove(finder)
    module.__class__ = _LazyCompiler
    # A submodule's import asks its package for this, and gets it when the package is loaded.
    vars(module).pop("__path__")
    vars(module).update(disable=_leave_alone, graph_break=lambda msg="": None)


_COMPILER = "torch._dynamo"
_left_alone: list[Any] = []


def _leave_alone(target: Any = None, *args: Any, **options: Any) -> Any:
    """Stand in for ``torch._dynamo.disable`` while nothing is compiled."""
    if target is None:
        return _leave_alone
    _left_alone.append(target)
    return target


class _LazyCompiler(_LazyModule):
    """``torch._dynamo``, not executed yet."""

    def _execute(self) -> None:
        assert self.__spec__ is not None
        vars(self)["__path__"] = self.__spec__.submodule_search_locations
        super()._execute()
        while _left_alone:  # torch's own wrappers keep here what ``disable`` gave them
            vars(_left_alone.pop()).pop("__dynamo_disable", None)
