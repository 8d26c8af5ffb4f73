"""A model on pieces: the same speech is scored, and the whole signal's statistics are used."""

from pathlib import Path

import lengths as lengths_script
import numpy as np
import pytest
import torch
from golden_numbers import voice
from study import lengths
from tiny_models import save_tiny

from featnorm_se.data.audio import write_audio
from featnorm_se.data.corpus import read_listing
from featnorm_se.data.datadir import read_log
from featnorm_se.inference.enhancer import Enhancer


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six pairs of 1 s, of two conditions; the first noise grows louder from pair to pair."""
    log = []
    for i in range(6):
        clean, noisy = voice(16000 + 100 * i, i)
        for kind, samples in (("clean", clean), ("noisy", clean + (1 + i) * (noisy - clean))):
            write_audio(tmp_path / kind / f"u{i}.wav", samples)
        log.append(f"u{i} {('bus', 'cafe')[i // 3]} 7.5\n")
    (tmp_path / "log.txt").write_text("".join(log))
    return tmp_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tera_scratch_utterance_seed3", norm_site="projection,layer.1")


def joined_pairs(pairs: Path, **more) -> list[lengths.Joined]:
    files = [read_listing(pairs / kind) for kind in ("clean", "noisy")]
    return lengths.join_utterances(*files, read_log(pairs / "log.txt"), **more)


def test_utterances_of_one_condition_are_joined_and_cut(pairs: Path) -> None:
    signals = joined_pairs(pairs, longest=2.5)
    assert sorted(s.names for s in signals) == [["u0", "u1"], ["u2"], ["u3", "u4"], ["u5"]]
    assert len(joined_pairs(pairs, utterances=2, longest=2.5)) == 1
    joined = next(s for s in signals if s.names == ["u0", "u1"])
    assert joined.edges == [0, 16000, 32000] and len(joined.noisy) == 32000
    assert lengths.cut(joined, "0.5") == [0, 8000, 16000, 24000, 32000]
    assert lengths.cut(joined, "0.6")[1:3] == [10560, 21440]
    assert lengths.cut(joined, "joined") == [0, 32000]
    assert lengths.cut(joined, "utterance") == joined.edges


def test_statistics_of_the_whole_are_used_in_every_piece(pairs: Path, model: Path) -> None:
    joined = next(s for s in joined_pairs(pairs) if s.names[0] == "u0")
    enhancer = Enhancer.from_pretrained(model)
    whole = enhancer.enhance([torch.from_numpy(joined.noisy)])[0].numpy()
    total = joined.edges[-1]
    for stats in lengths.STATS:
        one = lengths.enhance_pieces(enhancer, joined.noisy, [0, total], stats)
        assert one == pytest.approx(whole, abs=1e-5)
    seen: dict[str, list[torch.Tensor]] = {"piece": [], "whole": []}
    norm = enhancer.separator.upstream.norms["projection"]
    for stats, kept in seen.items():
        hook = norm.register_forward_hook(
            lambda module, _, y, kept=kept: kept.append((y, module.given is not None))
        )
        out = lengths.enhance_pieces(enhancer, joined.noisy, joined.edges, stats)
        hook.remove()
        assert out.shape == joined.noisy.shape and np.isfinite(out).all()
    assert not any(given for _, given in seen["piece"])
    # With its own statistics each piece has the clean mean; with the whole's only all together.
    own = torch.stack([y.mean(dim=(0, 1)) for y, _ in seen["piece"]])
    assert own.std(dim=0).max() < 1e-4
    frames = [y for y, given in seen["whole"] if given][-len(joined.names) :]
    apart = torch.stack([y.mean(dim=(0, 1)) for y in frames])
    assert apart.std(dim=0).max() > 1e-3
    together = torch.cat(frames, dim=1).mean(dim=(0, 1))
    assert together == pytest.approx(norm.mean, abs=2e-2)
    assert norm.given is None


def test_the_script_writes_a_table_and_a_picture(pairs: Path, model: Path, capsys) -> None:
    options = ["--model", model, "--clean_dir", pairs / "clean", "--noisy_dir", pairs / "noisy"]
    options += ["--log_testset", pairs / "log.txt", "--output", pairs / "out", "--pieces", "0.5"]
    lengths_script.main([str(option) for option in options])
    assert (pairs / "out" / "lengths.png").read_bytes().startswith(b"\x89PNG")
    text = (pairs / "out" / "lengths.csv").read_text()
    assert text in capsys.readouterr().out
    rows = [line.split(",") for line in text.splitlines()[1:]]
    assert len(rows) == 2 * 2 * 3
    usual = next(row for row in rows if row[1:3] == ["piece", "utterance"])
    assert usual[0] == "tera_scratch_utterance" and float(usual[7]) == 0.0
    scores = {(row[1], row[2], row[5]): float(row[6]) for row in rows}
    assert scores["piece", "joined", "STOI"] == pytest.approx(
        scores["whole", "joined", "STOI"], abs=1e-3
    )
