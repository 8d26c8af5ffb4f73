"""doc/extend.md holds: what it says is done to a copy of the package, which then has all of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import soundfile
import torch
from forked import fork
from tiny_models import make

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "doc" / "extend.md"


def code_blocks(page: str) -> list[str]:
    """Return the indented blocks of a page, without their indent."""
    found = re.findall(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}|\n {4}))+)", page)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in found]


def follow(block: str, folder: Path) -> None:
    """Do what a block says: apply a patch, write a file, or add to one at its end."""
    if block.startswith("--- a/"):
        command = ["git", "apply", "--whitespace=error", "-"]
        subprocess.run(command, cwd=folder, input=block, text=True, check=True)
        return
    place = re.match(r"# (\S+\.(?:py|yaml))(, at the end)?\n", block)
    assert place, block
    path = folder / place[1]
    assert path.is_file() == bool(place[2]), path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("\n\n" + block if place[2] else block)


def test_the_page_adds_a_norm_a_loss_a_head_and_upstreams(tmp_path):
    unused = shutil.ignore_patterns("models", "bin", "report")
    shutil.copytree(ROOT / "featnorm_se", tmp_path / "featnorm_se", ignore=unused)
    (tmp_path / "conf").mkdir()
    recipe = ROOT / "egs" / "voicebank_demand" / "enh1"
    shutil.copy(recipe / "conf" / "train.yaml", tmp_path / "conf")
    blocks = code_blocks(PAGE.read_text())
    for block in blocks:
        follow(block, tmp_path)
    assert len(blocks) == 8
    make(tmp_path / "downloads", "tera_tiny").rename(tmp_path / "downloads" / "my_tera.pt")
    process = fork(try_what_was_added, tmp_path)
    process.join(120)
    assert process.exitcode == 0


def test_the_page_names_files_that_are_there():
    table = PAGE.read_text().partition("\n\n## ")[0]
    for path in re.findall(r"`(featnorm_se/[^`]*|conf/\w+\.yaml)`", table):
        there = list((ROOT / "egs/mini/enh1" if path[0] == "c" else ROOT).glob(path))
        assert there or "NAME" in path, path


def try_what_was_added(folder: Path) -> None:
    """Use each of the page's additions; the copy of the package is the one that is imported."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "featnorm_se"]:
        del sys.modules[name]
    import featnorm_se
    from featnorm_se import FeatureNorm, load_upstream
    from featnorm_se.collection import collect
    from featnorm_se.inference.enhancer import Enhancer
    from featnorm_se.inference.long_signal import Signal, enhance_signal
    from featnorm_se.inference.windows import Windowing
    from featnorm_se.statistics import SiteStats
    from featnorm_se.training.experiment import read_training_config
    from featnorm_se.training.task import FeatNormTask, criterion_choices, parse_options

    assert Path(featnorm_se.__file__).is_relative_to(Path.cwd())
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(1, 50, 4)
    clean = SiteStats.of(torch.tensor([[1.0], [7.0]]).expand(2, 4).numpy())
    constant = SiteStats.of(torch.full((2, 4), 4.0).numpy())
    assert FeatureNorm(constant, "mean")(x).eq(4).all()
    y = FeatureNorm(clean, "mean")(x)
    torch.testing.assert_close(y.mean(dim=1), torch.full((1, 4), 4.0))
    torch.testing.assert_close(y.std(dim=1), x.std(dim=1))

    config = read_training_config(Path("conf/train_compressed.yaml"))
    config["separator_conf"] |= {"upstream": "mfcc", "norm": "mean", "head": "gru", "units": 8}
    config["separator_conf"] |= config["encoder_conf"]
    config["separator"] = "featnorm"
    assert {"l1", "mse", "snr", "si_snr"} <= set(criterion_choices.classes)
    upstream = load_upstream("mfcc")
    wav, lengths = torch.randn(2, 16000).clamp(-4, 4) / 4, torch.tensor([16000, 12000])
    soundfile.write("clean.wav", wav[0].numpy(), 16000)
    collect(upstream, {"one": "clean.wav"}, ["frontend"]).save(Path("clean.npz"))
    args = parse_options({**config, "output_dir": "exp", "clean_stats": "clean.npz"}, "conf")
    model = FeatNormTask.build_model(args, upstream)
    loss, figures, _ = model(wav, lengths, speech_ref1=wav * 0.5)
    assert "compressed_l1" in figures and loss.item() > 0
    loss.backward()
    head = model.separator.head
    assert type(head).__name__ == "GruHead" and float(head.blstm.weight_hh_l0.grad.abs().max()) > 0
    # A long file's statistics, which are given to the norm, go through it too.
    enhancer = Enhancer(config, model.state_dict())
    noisy = Signal.of(torch.randn(80000, 1).numpy())
    windows = enhance_signal(enhancer, noisy, Windowing(window=2.0, overlap=0.6))
    assert sum(len(part) for part in windows) == 80000

    assert load_upstream("my_tera", conf_dir=Path("conf/upstream")).num_layers == 3
    features, frames = upstream(wav, lengths)
    assert features.shape == (2, int(frames[0]), 20)
    alone, _ = upstream(wav[1:, :12000], lengths[1:])
    torch.testing.assert_close(features[1, : int(frames[1])], alone[0])
    # From a GPU's tensors, of which "meta" has the likes, it reads nothing: a step is recorded.
    _, frames = upstream.to("meta")(wav.to("meta"), lengths)
    assert frames.device.type == "cpu"
