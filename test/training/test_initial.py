"""A training that starts from a finished model: everything from there, and nothing else."""

import argparse
import json
import shlex
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from forked import fork
from golden_numbers import write_pairs
from test_resume import train_until
from tiny_models import save_tiny

from featnorm_se.bin.train import main
from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file
from featnorm_se.report.pack import pack
from featnorm_se.training.initial import read_initial
from featnorm_se.training.task import FeatNormTask

FINETUNE = Path(__file__).parents[2] / "egs" / "TEMPLATE" / "enh1" / "conf" / "finetune.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two data directories and the recipe's own configuration, made small."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("place")
    for part, count in (("train", 3), ("valid", 2)):
        write_pairs(root / part, count, 8000, 0)
    quick = {"max_epoch": 2, "chunk_length": 4000, "batch_size": 2, "num_workers": 0}
    quick |= {"use_matplotlib": False, "use_tensorboard": False, "base": "recipe.yaml"}
    (root / "recipe.yaml").write_text(FINETUNE.read_text())
    (root / "finetune.yaml").write_text(yaml.safe_dump(quick))
    return root


def words(place: Path, init: Path, expdir: Path, *more: str) -> list[str]:
    paths = {"expdir": expdir, "config": place / "finetune.yaml", "init": init}
    paths |= {f"{part}_dir": place / part for part in ("train", "valid")}
    return [word for key, path in paths.items() for word in (f"--{key}", str(path))] + [*more]


def weights(folder: Path, name: str = "valid.loss.best.pth") -> dict[str, torch.Tensor]:
    return torch.load(folder / name, weights_only=True)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("norm", "conf"),
    [
        ("corpus", {"norm_site": ["frontend", "last"]}),
        ("level", {"feature": "weighted_sum", "feature_layer_norm": True}),
        ("mix", {"use_spectrum": False}),
    ],
)
def test_all_of_the_model_is_taken_over(tmp_path, packed, norm, conf):
    init = save_tiny(tmp_path / "old", norm=norm, **conf)
    state = weights(init)
    for key in state:
        if "norms." in key or key.endswith("level_db"):
            state[key] = torch.full_like(state[key], 7)
    # As version 0.2 wrote it.
    torch.save(state | {"separator.steps": torch.tensor(7)}, init / "valid.loss.best.pth")
    text = (init / "config.yaml").read_text()
    old = text.replace("separator_conf:\n", "separator_conf:\n  freeze_steps: 5\n")
    (init / "config.yaml").write_text(old)
    if packed:
        pack(init, tmp_path / "old.zip")
        init = tmp_path / "old.zip"
    model = read_initial(init)
    given = {"freeze": "all", "upstream": "tera_tiny", "num_spk": 1}  # the model leaves 1 unsaid
    config = model.complete({"separator_conf": given})
    assert config["criterions"][0]["name"] == "log1p_l1"
    given = {"output_dir": str(tmp_path), "resume": True, "seed": 1, "loss_wrapper": None}
    given |= {"upstream_ckpt": "/no/such.pt", "init_model": str(init), "init": "xavier_uniform"}
    given |= {"upstream_conf_dir": None}
    args = argparse.Namespace(**{**config, **given, "separator": "featnorm", "encoder": "stft"})
    args.decoder = "stft"
    # As in a process that torch spawns, which reads it anew, and as in the only one.
    parts = (read_initial(init).separator.upstream, model)
    for separator in (FeatNormTask.build_model(args, *p).separator for p in ((), parts)):
        found = separator.state_dict()
        assert found.keys() == {key.removeprefix("separator.") for key in state}
        for key, value in found.items():
            assert torch.equal(value, state[f"separator.{key}"]), key
        assert not any(p.requires_grad for p in separator.upstream.model.parameters())


def test_a_cut_run_goes_on_from_itself(place, tmp_path):
    init = save_tiny(tmp_path / "old")
    frozen = ("--set", "separator_conf.freeze=all")
    whole, cut = words(place, init, tmp_path / "whole", *frozen), tmp_path / "cut"
    main(whole)
    started = partial(main, words(place, init, cut, *frozen))
    process = fork(train_until, started, torch.optim.Adam, "step", 4, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143 and (cut / "checkpoint.pth").is_file()
    main(words(place, init, cut, *frozen))
    for name in ("1epoch.pth", "2epoch.pth"):
        if (cut / name).is_file() or (tmp_path / "whole" / name).is_file():
            found, wanted = weights(cut, name), weights(tmp_path / "whole", name)
            assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    old, new = weights(init), weights(cut)
    moved = {key for key, value in old.items() if not torch.equal(value, new[key])}
    assert moved and all(key.startswith("separator.head.") for key in moved)
    record = json.loads((cut / "run.json").read_text())
    digest = f"sha256:{sha256_file(init / 'valid.loss.best.pth')}"
    assert record["init"] == {"model": str(init), "weights": digest}
    assert (record["upstream"], record["norm"]) == ("tera_tiny", "utterance")
    assert record["command"] == shlex.join(
        ["featnorm-se", "train", *words(place, init, cut, *frozen)]
    )
    assert len(record["resumed"]) == 1
    # And it is a model like any other, to start from as well.
    assert read_initial(cut).separator.norm_sites == ["projection"]
    with pytest.raises(FeatnormError, match=r"is this run itself: give it another --tag"):
        main(words(place, cut, cut))


def test_what_does_not_fit_is_listed_at_once(place, tmp_path):
    init = save_tiny(tmp_path / "old")
    more = ["--upstream", "wavlm_tiny", "--norm", "none", "--norm_site", "layer.1"]
    for setting in ("encoder_conf.n_fft=400", "separator_conf.units=9", "separator_conf.layers=1"):
        more += ["--set", setting]
    with pytest.raises(FeatnormError) as error:
        main(words(place, init, tmp_path / "new", *more))
    told = str(error.value)
    for part in (
        *("encoder_conf.n_fft 400 (there 512)", "separator_conf.units 9 (there 8)"),
        *("upstream 'wavlm_tiny' (there 'tera_tiny')", "norm 'none' (there 'utterance')"),
        "norm_site ['layer.1'] (there ['projection'])",
    ):
        assert part in told
    assert "layers" not in told and "\n" not in told
    # What is the same may be repeated.
    same = ["--upstream", "tera_tiny", "--norm", "utterance", "--norm_site", "auto"]
    main(words(place, init, tmp_path / "new", *same, "--set", "max_epoch=1"))
    for name in ("upstream_ckpt", "clean_stats", "noisy_stats"):
        with pytest.raises(FeatnormError, match=f"--{name} x: leave it out"):
            main(words(place, init, tmp_path / "other", f"--{name}", "x"))
    assert not (tmp_path / "other").exists()
