"""Imports put off: nothing is loaded for nothing, and what is used is the genuine thing."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typeguard

from featnorm_se.training.postponed import CALLED, LAZY, postponed_imports

# The task of stage 3, then an ESPnet model that has none of this project's parts.
OTHER_MODEL = """
import sys
from featnorm_se.training.postponed import CALLED, postponed_imports
with postponed_imports():
    from featnorm_se.training.task import FeatNormTask
unwanted = {"transformers", "nltk", "g2p_en", "inflect", "numba", "scipy.stats", "librosa.core",
    "scipy.integrate._ivp", "fast_bss_eval.torch", "espnet2.tts", "espnet2.gan_tts", *CALLED}
print("loaded for nothing:", sorted(unwanted & set(sys.modules)))
print("attentions plotted:", FeatNormTask.get_parser().parse_args([]).num_att_plot)

import torch, typeguard
from espnet2.tasks.enh import EnhancementTask
parser = EnhancementTask.get_parser()
args = parser.parse_args(["--output_dir", "nowhere", "--encoder", "conv", "--decoder", "conv",
    "--separator", "tcn", "--separator_conf", "num_spk=1", "--separator_conf", "layer=2",
    "--separator_conf", "stack=1", "--separator_conf", "bottleneck_dim=8"])
args.encoder_conf = args.decoder_conf = {"channel": 8, "kernel_size": 32, "stride": 16}
args.criterions = [{"name": name, "conf": {}, "wrapper": "fixed_order", "wrapper_conf": {}}
    for name in ("ci_sdr", "sdr")]  # two packages that are put off
model = EnhancementTask.build_model(args)
noisy, clean = torch.randn(2, 4000), torch.randn(2, 4000)
loss, stats, weight = model(speech_mix=noisy, speech_ref1=clean)
loss.backward()
print("loss:", torch.isfinite(loss).item(), sorted(stats))

from espnet2.schedulers.warmup_lr import WarmupLR
try:
    WarmupLR(torch.optim.SGD(model.parameters(), 1.0), warmup_steps="many")
except typeguard.TypeCheckError as error:
    print("checked:", "warmup_steps" in str(error))

from espnet2.layers.create_adapter import create_adapter
from espnet2.tasks import abs_task
print("genuine:", create_adapter.__code__.co_filename.endswith("create_adapter.py"))
try:
    abs_task.create_adapter(model, "no such adapter", {})
except Exception as error:
    print("called:", "no such adapter" in str(error) or type(error).__name__)
"""


def test_stage_3_imports_nothing_for_nothing_and_espnet_stays_whole():
    """ESPnet's own choices, checks and functions work in a process that put imports off."""
    done = subprocess.run([sys.executable, "-c", OTHER_MODEL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert told["loaded for nothing"] == "[]"
    assert told["attentions plotted"] == "0"
    assert told["loss"].startswith("True") and "ci_sdr" in told["loss"]
    assert told["checked"] == told["genuine"] == "True"
    assert told["called"] in ("True", "AssertionError", "ValueError", "KeyError")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules and one that fails; importing each leaves a mark in a file."""
    folder = tmp_path / "later_sample"
    folder.mkdir()
    mark = f"open({str(tmp_path / 'log')!r}, 'a').write(__name__ + ' ')\n"
    (folder / "__init__.py").write_text(mark + "answer = 42\n")
    (folder / "part.py").write_text(mark + "def twice(x):\n    return 2 * x\n")
    (folder / "broken.py").write_text(mark + "raise OSError('no such library')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: (tmp_path / "log").read_text().split() if (tmp_path / "log").exists() else []
    for name in [name for name in sys.modules if name.startswith("later_sample")]:
        del sys.modules[name]


def test_a_lazy_module_is_loaded_at_its_first_use(package):
    with postponed_imports(["later_sample"], {}):
        import later_sample
    assert hasattr(later_sample, "__file__") and later_sample.__name__ == "later_sample"
    assert package() == []
    assert later_sample.answer == 42 and type(later_sample) is ModuleType
    assert not hasattr(later_sample, "question")
    assert package() == ["later_sample"]


def test_a_lazy_module_gives_its_names_to_from_imports(package):
    with postponed_imports(["later_sample"], {}):
        import later_sample  # noqa: F401
    from later_sample import answer
    from later_sample.part import twice

    assert twice(answer) == 84 and package() == ["later_sample", "later_sample.part"]


def test_a_lazy_module_that_fails_says_so_at_every_use(package):
    with postponed_imports(["later_sample.broken"], {}):
        import later_sample.broken as broken
    for _ in range(2):
        with pytest.raises(OSError, match="no such library"):
            broken.function()


def test_a_called_name_imports_its_module_when_it_is_called(package):
    with postponed_imports([], {"later_sample.part": ["twice"]}):
        from later_sample.part import twice
    assert "later_sample.part" not in sys.modules and package() == []
    assert twice(4) == 8 and package() == ["later_sample", "later_sample.part"]
    assert sys.modules["later_sample.part"].twice is not twice


def test_what_is_loaded_stays_and_all_is_put_back(package):
    module = importlib.import_module("later_sample.part")
    finders, checks = list(sys.meta_path), typeguard.typechecked
    with (
        pytest.raises(ImportError, match="no_such_name"),
        postponed_imports(["later_sample"], {"later_sample.part": ["twice"], "a.b": ["c"]}),
    ):
        assert importlib.import_module("later_sample.part") is module
        from a.b import c, no_such_name  # noqa: F401
    assert sys.meta_path == finders and typeguard.typechecked is checks
    assert "a.b" not in sys.modules and type(sys.modules["later_sample"]) is ModuleType


def test_checks_come_with_the_first_call(monkeypatch):
    with postponed_imports([], {}):
        from typeguard import typechecked

    def half(number: int) -> float:
        """Halve."""
        return number / 2

    checked = typechecked(half)
    assert checked(3) == 1.5 and checked.__doc__ == "Halve."
    with pytest.raises(typeguard.TypeCheckError, match="number"):
        checked("3")


# Optimizers of torch without its compiler, then with it, and a submodule asked for first.
COMPILER = """
import sys, torch
from featnorm_se.training.postponed import postpone_compiler
postpone_compiler()
weight = torch.nn.Parameter(torch.ones(3))
for kind in (torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW, torch.optim.Adadelta):
    optimizer = kind([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
print("moved:", bool((weight < 1).all()))
print("loaded:", [name for name in ("torch._dynamo.eval_frame", "sympy") if name in sys.modules])
from torch._dynamo.eval_frame import OptimizedModule
print("executed:", "torch._dynamo.decorators" in sys.modules, torch._dynamo.__path__ != [])
print("genuine:", torch._dynamo.disable.__module__, torch._dynamo.graph_break.__module__)
kept = vars(torch.optim.Optimizer.zero_grad.__wrapped__)
print("given back:", "__dynamo_disable" not in kept)
optimizer.zero_grad()
print("disabled:", getattr(kept["__dynamo_disable"], "_torchdynamo_disable", None))
compiled = torch.compile(lambda x: x * 2, backend="eager")
print("compiles:", bool((compiled(weight.detach()) == weight * 2).all()))
"""


def test_an_optimizer_needs_no_compiler_until_something_is_compiled():
    done = subprocess.run([sys.executable, "-c", COMPILER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert told["loaded"] == "[]" and told["executed"] == "True True"
    assert told["genuine"] == "torch._dynamo.decorators torch._dynamo.decorators"
    assert all(told[what] == "True" for what in ("moved", "given back", "disabled", "compiles"))


def test_checks_of_every_kind_of_argument():
    with postponed_imports([], {}):
        from typeguard import typechecked

    @typechecked
    def total(first: int, *rest: int, scale: float = None, **named: str) -> int:  # noqa: RUF013
        return first + sum(rest)

    assert total(1, 2, 3, scale=2.0, a="x") == 6 and total(1, scale=None) == 1
    wrong = [(("1",), {}), ((1, "2"), {}), ((1,), {"scale": "s"}), ((1,), {"a": 1}), ((1, 0.5), {})]
    for args, named in wrong:
        with pytest.raises(typeguard.TypeCheckError, match="argument"):
            total(*args, **named)
    with pytest.raises(TypeError, match="missing"):
        total()


def test_every_postponed_name_exists():
    """The lists name what the installed ESPnet has."""
    for name in LAZY:
        assert importlib.util.find_spec(name) is not None
    for name, called in CALLED.items():
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        text = Path(spec.origin).read_text(encoding="utf-8")
        assert all(f"def {c}" in text or f"class {c}" in text for c in called)
