"""What only a GPU shows; without one all of this is skipped. CPU and CUDA must tell the same."""

import importlib
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_models import tiny_config, training_config

from featnorm_se import Enhancer
from featnorm_se.collection import collect
from featnorm_se.data.datadir import Utterance, write_data_dir
from featnorm_se.data.scp import read_scp
from featnorm_se.model.recorded import Recorder
from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.training.experiment import Experiment, train
from featnorm_se.training.trainer import FeatNormTrainer
from featnorm_se.upstream import load_upstream

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

UPSTREAMS = ["fbank", "mockingjay_tiny", "tera_tiny", "wav2vec2_tiny", "hubert_tiny", "wavlm_tiny"]


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full float32, so that a difference to the CPU is a fault and no rounding to TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def speech(samples: int, seed: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).normal(size=samples).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directories train and valid below data/, and a training YAML."""
    root = tmp_path_factory.mktemp("cuda")
    for part, count in (("train", 8), ("valid", 3)):
        utterances = []
        for number in range(count):
            name, clean = f"{part}_{number}", speech(12000 + 900 * number, number)
            paths = [str(root / f"{name}.{kind}.wav") for kind in ("noisy", "clean")]
            soundfile.write(paths[0], clean + speech(len(clean), 99 + number), 16000)
            soundfile.write(paths[1], clean, 16000)
            utterances.append(Utterance(name, *paths, part, len(clean) / 16000))
        write_data_dir(root / "data" / part, utterances)
    config = training_config()
    config |= {"max_epoch": 2, "chunk_length": 8000, "keep_nbest_models": 1}
    (root / "train.yaml").write_text(yaml.safe_dump(config))
    return root


def fine_tune(corpus: Path, expdir: Path, upstream: str, *overrides: str) -> list[float]:
    """Train on the GPU with FN and return the validation loss of every epoch."""
    stats = expdir.parent / f"{expdir.name}.npz"
    model = load_upstream(upstream, "scratch", seed=0)
    clean = read_scp(corpus / "data" / "train" / "spk1.scp")
    sites = model.resolve_sites("auto")
    collect(model, clean, sites, device="cuda").save(stats)
    places = {f"{part}_dir": corpus / "data" / part for part in ("train", "valid")}
    places |= {"expdir": expdir, "config": corpus / "train.yaml", "clean_stats": stats}
    told = {"upstream": upstream, "upstream_ckpt": "scratch", "norm": "utterance"}
    told |= {"norm_site": "auto", "seed": 0, "ngpu": 1, "overrides": overrides}
    train(Experiment(**places, **told))
    states = torch.load(expdir / "checkpoint.pth", map_location="cpu", weights_only=False)
    epochs = states["reporter"]["stats"]
    losses = [float(epochs[number]["valid"]["loss"]) for number in sorted(epochs)]
    assert all(math.isfinite(loss) for loss in losses)
    return losses


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_features_and_gradients(upstream: str, fast: bool) -> None:
    model = load_upstream(upstream, "scratch", seed=1)
    model.configure(fast=fast)
    waves = [torch.from_numpy(speech(size, size)) for size in (16000, 9001)]
    wav = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    lengths = torch.tensor([16000, 9001])
    found: dict[str, tuple[torch.Tensor, dict[str, torch.Tensor]]] = {}
    for device in ("cpu", "cuda"):
        model.to(device).eval()
        model.zero_grad(set_to_none=True)
        features, frames = model(wav.to(device), lengths.to(device))
        if features.requires_grad:
            weights = torch.linspace(-1, 1, features.shape[-1], device=device)
            rows = zip(features, frames, strict=True)
            sum((row[:n] * weights).sum() for row, n in rows).backward()
        grads = {n: p.grad.cpu().clone() for n, p in model.named_parameters() if p.grad is not None}
        valid = [row[:n] for row, n in zip(features.detach().cpu(), frames.tolist(), strict=True)]
        found[device] = (torch.cat(valid), grads)
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], atol=5e-4, rtol=1e-3)
    assert found["cuda"][1].keys() == found["cpu"][1].keys()
    largest = max((g.abs().max() for g in found["cpu"][1].values()), default=torch.tensor(0.0))
    for name, wanted in found["cpu"][1].items():
        off = (found["cuda"][1][name] - wanted).abs().max()
        assert off <= 5e-3 * wanted.abs().max() + 1e-4 * largest, name


@torch.no_grad()
def validate(separator: FeatNormSeparator) -> None:
    """Look at nine other lengths, then write over all memory that is free."""
    separator.eval()
    for frames in range(30, 39):
        noisy = torch.ones(1, frames, 257, dtype=torch.complex64, device="cuda")
        separator(noisy, torch.tensor([frames]))
    separator.train()
    torch.cuda.empty_cache()
    for size in [2**number for number in range(8, 24)] * 4:
        torch.full((size,), math.nan, device="cuda")


@pytest.mark.parametrize("norm", ["none", "utterance", "mix", "level"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_recorded_step_is_the_step(upstream: str, norm: str) -> None:
    """Losses and gradients, dropout's draws included, and gradients that are added up."""
    torch.manual_seed(0)
    separator = FeatNormSeparator(257, upstream, norm=norm, precision="float32", units=8)
    separator.cuda().train().has_silence = False
    spectra = [
        torch.stft(torch.from_numpy(speech(16000, n))[None], 512, 160, 400, return_complex=True)
        for n in range(4)
    ]
    spectra = [spectrum.transpose(1, 2).cuda().expand(2, -1, -1) for spectrum in spectra]
    lengths = torch.full((2,), spectra[0].shape[1])
    found: dict[bool, list[torch.Tensor]] = {}
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for recorded in (False, True):
            separator.recorder = Recorder() if recorded else None
            torch.manual_seed(1)
            found[recorded] = []
            for number, spectrum in enumerate(spectra):
                if number != len(spectra) - 1:  # the last two steps are one update
                    separator.zero_grad(set_to_none=True)
                validate(separator)
                loss = separator(spectrum, lengths)[0][0].abs().mean()
                loss.backward()
                found[recorded].append(loss.detach())
            found[recorded] += [p.grad for p in separator.parameters() if p.grad is not None]
            assert recorded == bool(separator.recorder and separator.recorder.recording)
    torch.cuda.synchronize()
    assert len(found[True]) == len(found[False]) > len(spectra)
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * float(other.abs().max()), rtol=1e-4)


@pytest.mark.parametrize(("norm", "talkers"), [("none", 1), ("utterance", 1), ("mix", 2)])
@pytest.mark.parametrize("upstream", ["fbank", "tera_tiny", "wavlm_tiny"])
def test_a_whole_step_is_espnets(tmp_path: Path, upstream: str, norm: str, talkers: int) -> None:
    """From samples to the loss, recorded: what ESPnet does, two steps to an update included."""
    from featnorm_se.training.task import EnhancementTask, register
    from featnorm_se.training.whole_step import WholeStep

    register()
    path = tmp_path / "config.yaml"
    config = tiny_config(upstream, norm, precision="float32", num_spk=talkers)
    if talkers == 2:
        config["criterions"][0]["wrapper"] = "pit"
    path.write_text(yaml.safe_dump(config))
    model, _ = EnhancementTask.build_model_from_file(path, device="cuda")
    model.train().separator.has_silence = False
    signals = [torch.from_numpy(speech(4 * 20480, n)).cuda().view(4, 20480) for n in range(8)]
    found: dict[bool, list[torch.Tensor]] = {}
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for recorded in (False, True):
            step = WholeStep(model, 2) if recorded else model
            torch.manual_seed(1)
            found[recorded] = []
            for number, (noisy, clean) in enumerate(pairwise(signals)):
                if number != len(signals) - 2:
                    model.zero_grad(set_to_none=True)
                refs = {"speech_ref1": clean, "speech_ref2": noisy - clean}
                refs = dict([*refs.items()][:talkers])
                loss, stats, _ = step(speech_mix=noisy, utt_id=[], **refs)
                (loss / 2).backward()
                told = [loss.detach(), *(stats[key] for key in sorted(stats))]
                found[recorded] += [x.cuda() for x in told]
            found[recorded] += [p.grad for p in model.parameters() if p.grad is not None]
        assert step.recorder.recording is not None
    torch.cuda.synchronize()
    # The gradient of what cannot change the loss, such as a key's bias, is rounding alone.
    largest = max(float(x.abs().max()) for x in found[False])
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * largest, rtol=1e-4)


def test_small_gradients_live_in_bfloat16() -> None:
    """In float16, which autocast has BLSTMs in, those of a small loss would be zero."""
    torch.manual_seed(0)
    gradients = []
    noisy = torch.randn(2, 50, 257, dtype=torch.complex64, device="cuda")
    separator = FeatNormSeparator(257, "wavlm_tiny", norm="none", upstream_dropout=0.0, units=8)
    separator.cuda().train()
    for precision in ("float32", "bf16"):
        separator.precision = precision
        separator.zero_grad()
        (1e-3 * separator(noisy, torch.tensor([50, 50]))[0][0].abs().mean()).backward()
        kept = [p.grad for n, p in separator.named_parameters() if "blstm" in n or "layers" in n]
        gradients.append(torch.cat([grad.flatten() for grad in kept if grad is not None]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.95


def test_streams_that_torch_hands_out_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has 32: after so many epochs batches would come by the stream that is recorded."""
    epoch = FeatNormTrainer.train_one_epoch

    def after_others(**parts: object) -> bool:
        while torch.cuda.Stream() != torch.cuda.current_stream():
            pass
        for _ in range(31):
            torch.cuda.Stream()
        return epoch(**parts)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatNormTrainer, "train_one_epoch", after_others)
    assert len(fine_tune(corpus, tmp_path / "exp", "tera_tiny")) == 2


def test_a_training_that_was_cut_goes_on_as_if_it_was_not(corpus: Path, tmp_path: Path) -> None:
    """Recorded and not: the second epoch of one is the first of the other process."""
    whole = fine_tune(corpus, tmp_path / "whole", "tera_tiny", "max_epoch=3")
    fine_tune(corpus, tmp_path / "cut", "tera_tiny", "max_epoch=1")
    cut = fine_tune(corpus, tmp_path / "cut", "tera_tiny", "max_epoch=3")
    np.testing.assert_allclose(cut, whole, rtol=1e-4)


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_it_trains_and_enhances_as_on_the_processor(corpus, tmp_path, upstream):
    losses = fine_tune(corpus, tmp_path / "exp", upstream, "max_epoch=6", "optim_conf.lr=0.01")
    assert losses[-1] < losses[0]
    record = json.loads((tmp_path / "exp" / "run.json").read_text())
    assert record["finished"] and torch.cuda.get_device_name(0) in json.dumps(record)
    noisy = speech(30000, 5)
    cpu, gpu = (
        Enhancer.from_pretrained(tmp_path / "exp", device, precision="float32")(noisy)
        for device in ("cpu", "cuda")
    )
    assert 10 * np.log10(np.square(cpu).sum() / np.square(cpu - gpu).sum()) > 50


WAYS = ("num_workers=2", "accum_grad=2")
WAYS += tuple(
    f"separator_conf.{conf}"
    for conf in ("precision=bf16", "precision=float32", "gradient_checkpointing=true", "freeze=all")
)


@pytest.mark.parametrize("override", [*WAYS, "separator_conf.feature=weighted_sum"])
@pytest.mark.parametrize("upstream", ["tera_tiny", "wavlm_tiny", "hubert_tiny"])
def test_every_way_to_train(corpus: Path, tmp_path: Path, upstream: str, override: str) -> None:
    assert len(fine_tune(corpus, tmp_path / "exp", upstream, override)) == 2


@pytest.mark.parametrize("upstream", ["tera_tiny", "mockingjay_tiny"])
def test_pre_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: str) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "egs" / "mini" / "ssl1" / "local")
    from featnorm_se.bin import run

    main = importlib.import_module("pretrain").main

    for name in ("anna", "bert", "carl"):
        (tmp_path / "speech" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "speech" / name / "a.flac", speech(48000, len(name)), 16000)
    objective = {"loss": "L1", "mask_proportion": 0.15, "mask_consecutive_min": 7}
    objective |= {"mask_consecutive_max": 7, "mask_allow_overlap": True, "mask_bucket_ratio": 1.2}
    objective |= {"mask_frequency": 0.2, "noise_proportion": 0.15}
    plan = {"objective": objective, "crop_seconds": [1], "batch_seconds": 4}
    plan |= {"steps": 6, "interval": 3, "dropout": 0.1}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    curves = []
    for tag in ("one", "two"):
        options = ["--speech_root", str(tmp_path / "speech"), "--upstream", upstream]
        options += ["--config", str(tmp_path / "plan.yaml"), "--expdir", str(tmp_path / tag)]
        assert run(main, [*options, "--device", "cuda", "--valid_speakers", "bert"]) == 0
        lines = (tmp_path / tag / "curve.csv").read_text().splitlines()
        curves.append([[float(v or 0) for v in line.split(",")[:3]] for line in lines[1:]])
        load_upstream(upstream, tmp_path / tag / f"{upstream}.pt")
    # Every step draws from its own number, on the GPU too.
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)
