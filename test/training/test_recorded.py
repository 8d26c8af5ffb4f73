"""A recorded step is the step, shown without a GPU: a graph that replays each operation in place.

It knows no streams and frees no memory; what they can spoil, ``test_cuda.py`` shows on a GPU.
"""

from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from tiny_models import tiny_config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from featnorm_se.model.recorded import Recorder
from featnorm_se.training.task import EnhancementTask, register
from featnorm_se.training.whole_step import WholeStep
from featnorm_se.upstream.waveform import WaveformUpstream

READS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero")


def tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def alias(leaf):
    """Return a tensor of the same memory, which keeps its shape whatever becomes of the first."""
    return torch.ops.aten.alias.default(leaf) if isinstance(leaf, torch.Tensor) else leaf


class Tape(TorchDispatchMode):
    """In the place of a CUDA graph: keeps what writes memory, with the memory that it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = []

    def pool(self) -> None:
        return None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kept = tree_map(alias, (args, kwargs or {}))
        # Lengths are whole numbers, and on the CPU in any case.
        if func.overloadpacket.__name__ in READS and any(
            map(torch.is_floating_point, tensors(kept))
        ):
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        out = func(*args, **(kwargs or {}))
        known = {x.untyped_storage().data_ptr() for x in tensors(kept)}
        fresh = [
            (n, alias(x))
            for n, x in enumerate(tensors(out))
            if x.untyped_storage().data_ptr() not in known
        ]
        if fresh or func._schema.is_mutable:
            self.steps.append((func, *kept, fresh))
        return out

    def replay(self) -> None:
        with torch.enable_grad():  # without it an LSTM keeps nothing for its gradients
            for func, args, kwargs, fresh in self.steps:
                found = tensors(func(*args, **kwargs))
                for n, place in fresh:
                    place.data.copy_(found[n])


@contextmanager
def capture(tape: Tape, **_):
    """Record, and draw nothing: the step is played, like any other, after it."""
    state = torch.get_rng_state()
    with tape:
        yield
    torch.set_rng_state(state)


class Event:
    """On a CPU what was asked for is done."""

    def record(self) -> None:
        pass

    synchronize = record


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, stand_in in (("CUDAGraph", Tape), ("graph", capture), ("Event", Event)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: None)
    monkeypatch.setattr(WaveformUpstream, "_spare", lambda *_: True)


def group(name, weight=1.0, wrapper="fixed_order", **conf):
    return {"name": name, "conf": conf, "wrapper": wrapper, "wrapper_conf": {"weight": weight}}


def build(folder, upstream, norm, losses, **conf):
    register()
    config = tiny_config(upstream, norm, precision="float32", **conf) | {"criterions": losses}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model, _ = EnhancementTask.build_model_from_file(folder / "config.yaml")
    model.train().separator.has_silence = False
    return model


ONE = [group("compressed_spectrum", complex_weight=0.3, asymmetry=1.0)]
TWO = [group("log1p_l1", 0.5), group("valid_si_snr", 0.0), group("compressed_spectrum", 2.0)]
TALKERS = [group("compressed_spectrum", wrapper="pit"), group("log1p_l1", 0.5)]
IDLE = [group("log1p_l1"), group("compressed_spectrum", 0.0)]
WAYS = [
    ("fbank", "level", IDLE, {}),
    ("tera_tiny", "utterance", ONE, {"feature": "layer.1"}),
    ("wavlm_tiny", "mix", TWO, {"feature": "weighted_sum"}),
    ("wavlm_tiny", "none", TALKERS, {"freeze": "all", "num_spk": 2}),
    ("hubert_tiny", "utterance", IDLE, {"freeze": "cnn", "dropout": 0.5, "layers": 2}),
]
OTHERS = {
    "time": [group("si_snr")],
    "masks": [group("log1p_l1"), group("mse")],
    "no weight": [group("log1p_l1", 0.0)],
    "tests alone": [group("valid_si_snr")],
    "noise": [group("log1p_l1", is_noise_loss=True)],
}


@pytest.mark.parametrize("losses", OTHERS)
def test_what_a_whole_step_does_not_know_is_left_to_espnet(tmp_path, losses):
    assert not WholeStep(build(tmp_path, "tera_tiny", "none", OTHERS[losses])).has_way


@pytest.mark.parametrize(("upstream", "norm", "losses", "conf"), WAYS)
@pytest.mark.parametrize(("accum_grad", "samples"), [(1, 8000), (2, 8085)])
def test_a_recorded_step_is_espnets(
    taped, tmp_path, upstream, norm, losses, conf, accum_grad, samples
):
    """Losses, what is reported and the weights after updates, with dropout's draws."""
    rng = np.random.default_rng(0)
    signals = torch.from_numpy(0.1 * rng.normal(size=(7, 2, samples)).astype(np.float32))
    found = {}
    for recorded in (False, True):
        model = build(tmp_path, upstream, norm, losses, **conf)
        step = WholeStep(model, accum_grad) if recorded else model
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        told = []
        for number, (noisy, clean) in enumerate(pairwise(signals), start=1):
            refs = {"speech_ref1": clean, "speech_ref2": noisy - clean}
            refs = dict([*refs.items()][: conf.get("num_spk", 1)])
            loss, stats, weight = step(speech_mix=noisy, utt_id=[], **refs)
            told += [x.detach().clone() for x in (loss, *(stats[key] for key in sorted(stats)))]
            told.append(weight)
            (loss / accum_grad).backward()
            if number % accum_grad == 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                optimizer.zero_grad()
        assert not recorded or step.recorder.recording is not None
        if recorded:  # with padding ESPnet's way is taken
            step.recorder = None
            step(
                speech_mix=noisy,
                utt_id=[],
                speech_mix_lengths=torch.tensor([samples, samples - 160]),
                **refs,
            )
        found[recorded] = told + list(model.parameters())
    torch.testing.assert_close(found[True], found[False], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("of_first", [None, 1.0])
def test_gradients_lie_apart_and_as_their_parameters(taped, of_first) -> None:
    """A fused optimizer wants them so, and clipping would scale twice what two share."""
    module = torch.nn.ParameterList([torch.randn(4, 3), torch.zeros(4), torch.zeros(4)])
    weight, one, other = module

    def compute(x: torch.Tensor) -> torch.Tensor:
        return (x @ weight.T.contiguous() + (one + other)).square().sum()[None]

    x = torch.randn(5, 3)
    expected = torch.autograd.grad(compute(x), list(module))
    recorder = Recorder(of_first)
    recorder.last = x.shape
    recorder(compute, x, module).backward()
    assert [x.grad.stride() for x in module] == [x.stride() for x in module]
    assert len({x.grad.data_ptr() for x in module}) == 3
    recorder(compute, x, module).backward()
    torch.testing.assert_close([x.grad for x in module], [2 * gradient for gradient in expected])
