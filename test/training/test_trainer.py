"""Training that goes wrong says so: the trainer's own epoch, run on batches that are bad."""

import threading
from types import SimpleNamespace

import pytest
import torch
from tiny_models import trainer_options

import featnorm_se.training.task  # noqa: F401 (it imports ESPnet without its warnings)
from featnorm_se.data.parallel import ahead
from featnorm_se.errors import FeatnormError
from featnorm_se.training.trainer import FeatNormTrainer, WatchedBatches, _how_many

NAN = float("nan")


@pytest.fixture(scope="module")
def espnet() -> SimpleNamespace:
    """ESPnet's parts, and a model: a line's distance from zero."""
    from espnet2.train.abs_espnet_model import AbsESPnetModel
    from espnet2.train.distributed_utils import DistributedOption
    from espnet2.train.reporter import SubReporter

    class Line(AbsESPnetModel):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.separator = SimpleNamespace(stft=(512, 160, 400), recorder=None)
            self.num_spk, self.flexible_numspk, self.categories = 1, False, {}
            criterion = SimpleNamespace(only_for_test=False)
            self.loss_wrappers = [SimpleNamespace(criterion=criterion, weight=1.0)]

        def forward(self, speech_mix, **_):
            x = speech_mix
            loss = (self.weight * x).square().mean()
            return loss, {"loss": loss.detach()}, torch.tensor(float(len(x)))

        def collect_feats(self, **_):
            return {}

    return SimpleNamespace(Reporter=SubReporter, Line=Line, one=DistributedOption())


def batches(*values):
    """Return a batch of two signals for every value."""
    return [
        ([f"{k}a", f"{k}b"], {"speech_mix": torch.full((2, 16), float(v))})
        for k, v in enumerate(values)
    ]


def run(espnet, folder, data, epoch="train", limit=3, model=None, accum_grad=1):
    model = model or espnet.Line()
    values = {"output_dir": folder, "accum_grad": accum_grad, "max_bad_steps": limit}
    values |= {"grad_clip": 5.0}
    parts = {
        "model": model,
        "iterator": data,
        "reporter": espnet.Reporter(epoch, 1, 0),
        "options": trainer_options(**values),
        "distributed_option": espnet.one,
    }
    if epoch == "valid":
        return FeatNormTrainer.validate_one_epoch(**parts)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return FeatNormTrainer.train_one_epoch(
        optimizers=[optimizer], schedulers=[None], scaler=None, summary_writer=None, **parts
    )


def test_bad_steps_on_end_stop_with_the_utterances(espnet, tmp_path):
    data = batches(1, 1, 1, 1, 1)
    for _, batch in data[2:]:
        batch["speech_mix"][1, 3] = NAN
    told = r"loss was not finite in 3 steps.*4b hold NaN"
    with pytest.raises(FeatnormError, match=told) as error:
        run(espnet, tmp_path, data)
    assert "epoch 1, step 5 (4a, 4b)" in str(error.value)
    assert run(espnet, tmp_path, batches(1, NAN, NAN, 1, NAN, NAN, 1)) is False


def test_an_endless_gradient_of_a_finite_loss_is_named(espnet, tmp_path):
    model = espnet.Line()
    model.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FeatnormError, match=r"grad_norm was not finite.*lower optim_conf.lr"):
        run(espnet, tmp_path, batches(1, 1, 1, 1), model=model)


def test_what_an_epoch_leaves_over_is_in_no_update_of_the_next(espnet, tmp_path):
    model, fresh = espnet.Line(), espnet.Line()
    model.separator.recorder = old = object()
    run(espnet, tmp_path, batches(1, 1, 9), model=model, accum_grad=2)  # 9 is in no update
    assert model.separator.recorder not in (None, old)  # nor is a recording of the next
    fresh.load_state_dict(model.state_dict())
    for one in (model, fresh):
        run(espnet, tmp_path, batches(1, 1), model=one, accum_grad=2)
    assert torch.equal(model.weight, fresh.weight)


def test_bad_gradients_are_counted_at_updates(espnet, tmp_path):
    assert run(espnet, tmp_path, batches(*[1] * 8), accum_grad=4) is False
    with pytest.raises(FeatnormError, match=r"in 3 steps in a row, the last in epoch 1, step 6 "):
        run(espnet, tmp_path, batches(1, NAN, 1, NAN, 1, NAN, 1, 1), accum_grad=2)
    with pytest.raises(FeatnormError, match="no step of epoch 1"):
        run(espnet, tmp_path, batches(NAN, 1), limit=9, accum_grad=2)
    with pytest.raises(FeatnormError, match=r"has 2 steps.*lower accum_grad"):
        run(espnet, tmp_path, batches(1, 1), accum_grad=3)


@pytest.mark.parametrize("epoch", ["train", "valid"])
def test_an_empty_set_is_named(espnet, tmp_path, epoch):
    with pytest.raises(FeatnormError, match=r"set gives no batch.*chunk_length"):
        run(espnet, tmp_path, [], epoch=epoch)


@pytest.mark.parametrize(("shorter", "keys"), [(0, 2), (1, 4)])
def test_lengths_of_whole_pieces_stay_on_the_processor(espnet, shorter, keys):
    """ESPnet moves what a batch holds to the GPU, and a length read there waits for it."""
    lengths = torch.tensor([16, 16 - shorter])
    batch = {f"speech_{kind}": torch.ones(2, 16) for kind in ("mix", "ref1")}
    batch |= {f"{name}_lengths": lengths for name in list(batch)}
    reporter = SimpleNamespace(key="train", stats={"loss": [], "grad_norm": []})
    watched = iter(WatchedBatches([(["a", "b"], batch)], reporter, espnet.Line()))
    assert len(next(watched)[1]) == keys


@pytest.mark.parametrize("count", [1, 3, 9])
def test_batches_ahead(count):
    threads = []

    def items():
        for number in range(4):
            threads.append(threading.current_thread())
            yield number
        raise OSError("the end")

    found = []
    with pytest.raises(OSError, match="the end"):
        found.extend(ahead(items(), lambda first: count + first))
    assert found == [0, 1, 2, 3] and not [*ahead([], int)]
    # Processes start with the first.
    assert threads[0] is threading.current_thread() not in threads[1:]


@pytest.mark.parametrize(("samples", "wanted"), [(20480, 32), (16000 * 15, 17), (10**9, 2)])
def test_batches_that_are_ready_do_not_fill_a_gpu(samples, wanted):
    batch = {f"speech_{kind}": torch.empty(8, samples, device="meta") for kind in ("mix", "ref1")}
    assert _how_many((["a"] * 8, batch, False)) == wanted
