"""Two talkers: Libri2Mix's folders in; training, two files a recording and scores by talker out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from golden_numbers import voice
from tiny_models import save_tiny, training_config

from featnorm_se import Enhancer
from featnorm_se.bin import collect_stats, enhance, enhance_set, prepare, report, score, train
from featnorm_se.data.audio import write_audio
from featnorm_se.data.datadir import validate_data_dir
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.windows import Windowing
from featnorm_se.metrics import scoring
from featnorm_se.metrics.worker import Task, score_files
from featnorm_se.statistics import FeatureStats

NAMES = {
    "train-100": ("103-1_1034-1", "1034-2_103-2"),
    "dev": ("84-1_174-1",),
    "test": ("61-1_1089-1",),
}


@pytest.fixture
def libri2mix(tmp_path: Path) -> Path:
    """Folders as Libri2Mix's own scripts write them."""
    root = tmp_path / "Libri2Mix"
    for number, (part, names) in enumerate(NAMES.items()):
        for name in names:
            first, second = (voice(9000, 2 * number + n)[0] for n in (1, 2))
            noise = 0.01 * np.random.default_rng(number).standard_normal(9000)
            mixes = {"mix_clean": first + second, "mix_both": first + second + noise}
            for kind, wave in {"s1": first, "s2": second, "noise": noise, **mixes}.items():
                path = root / "wav16k" / "min" / part / kind / f"{name}.wav"
                write_audio(path, wave)
    return root


def prepared(root: Path, mix: str = "both") -> Path:
    data = root.parent / f"data_{mix}"
    prepare.main(
        ["--corpus", "libri2mix", "--db_root", str(root), "--mix", mix, "--output", str(data)]
        + ["--wav_dir", str(root.parent / "wav"), "--nj", "1"]
    )
    return data


@pytest.mark.parametrize("mix", ["both", "clean"])
def test_libri2mix_becomes_data_directories_with_two_talkers(libri2mix, mix, capsys):
    data = prepared(libri2mix, mix)
    assert "train: 2 pairs, 0.0 minutes, 2 speakers" in capsys.readouterr().out
    for part, folder in (("train", "train-100"), ("valid", "dev"), ("test", "test")):
        lists = validate_data_dir(data / part)
        there = libri2mix / "wav16k" / "min" / folder
        for name, kind in (("wav.scp", f"mix_{mix}"), ("spk1.scp", "s1"), ("spk2.scp", "s2")):
            assert lists[name] == {key: str(there / kind / f"{key}.wav") for key in NAMES[folder]}
    assert read_scp(data / "train" / "utt2spk")["103-1_1034-1"] == "103+1034"
    # As Kaldi's lists of another recipe, and a list that is gone is written again.
    (data / "test" / "spk2.scp").unlink()
    assert (prepared(libri2mix, mix) / "test" / "spk2.scp").is_file()
    more = ["--corpus", "kaldi", "--db_root", str(data), "--output", str(data.parent / "again")]
    prepare.main([*more, "--nj", "1"])
    assert read_scp(data.parent / "again" / "valid" / "spk2.scp")
    dev = libri2mix / "wav16k" / "min" / "dev"
    one = sorted(path.name for path in (dev / "s1").iterdir())[0]
    shutil.copy(dev / "s1" / one, dev / "s2" / one)
    with pytest.raises(FeatnormError, match=f"dev/s2/{one}, of two talkers, are the same"):
        prepared(libri2mix, mix)
    (libri2mix / "wav16k" / "min" / "train-100" / "s2" / "103-1_1034-1.wav").unlink()
    with pytest.raises(FeatnormError, match=r"train-100/s2/103-1_1034-1\.wav .*2 pairs are bad"):
        prepared(libri2mix, mix)


def test_two_talkers_from_the_folders_to_the_table(libri2mix, tmp_path, capsys, monkeypatch):
    # In this process, not in those that a crash of PESQ may take.
    here = lambda tasks, nj: ((task, score_files(task)) for task in tasks)  # noqa: E731
    monkeypatch.setattr(scoring, "score_tasks", here)
    data, stats, exp = prepared(libri2mix), tmp_path / "clean.npz", tmp_path / "exp" / "sep"
    upstream = ["--upstream", "tera_tiny", "--upstream_ckpt", "scratch"]
    talkers = [str(data / "train" / f"spk{n}.scp") for n in (1, 2)]
    collect_stats.main([*upstream, "--wav_scp", *talkers, "--output", str(stats)])
    assert FeatureStats.load(stats).meta["utterances"] == 4
    loss = {"name": "compressed_spectrum", "conf": {}, "wrapper": "pit", "wrapper_conf": {}}
    config = training_config(num_spk=2) | {"criterions": [loss], "max_epoch": 1}
    config |= {"chunk_length": 4000, "best_model_criterion": [["valid", "si_snr", "max"]]}
    options = ["--train_dir", str(data / "train"), "--valid_dir", str(data / "valid")]
    options += [*upstream, "--clean_stats", str(stats), "--expdir", str(exp)]
    options += ["--config", str(tmp_path / "train.yaml")]
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    for wrong, told in (
        ("separator_conf.num_spk=1", "clean speech of 2 talkers"),
        (
            "criterions=[{name: l1, wrapper: fixed_order, wrapper_conf: {}}]",
            "know no order of talk",
        ),
    ):
        with pytest.raises(FeatnormError, match=told):
            train.main([*options, "--set", wrong])
    train.main(options)
    assert json.loads((exp / "run.json").read_text())["result"]["status"] == "finished"

    lists = [str(data / "test" / name) for name in ("wav.scp", "spk1.scp", "spk2.scp")]
    place = exp / "enhanced_test"
    enhance_set.main(["--model", str(exp), "--wav_scp", lists[0], "--output", str(place)])
    done = [str(place / f"spk{n}.scp") for n in (2, 1)]
    for folder, judged in ((exp, done), (tmp_path / "exp" / "noisy", lists[:1])):
        score.main(
            ["--ref", *lists[1:], "--inf", *judged, "--mix", lists[0], "--nj", "1"]
            + ["--metrics", "SI_SDR", "SI_SDRi", "STOI", "--output", str(folder / "scores_test")]
        )
    (tmp_path / "same").symlink_to(lists[1])
    for ref, inf in (([lists[1], str(tmp_path / "same")], done), (lists[1:], done[:1])):
        with pytest.raises(FeatnormError, match="both talkers are of the same files"):
            score.main(["--ref", *ref, "--inf", *inf, "--output", str(tmp_path / "s")])
    page = tmp_path / "index.html"
    capsys.readouterr()
    report.main(
        ["--expdir", str(tmp_path / "exp"), "--output", str(tmp_path / "RESULTS.md")]
        + ["--html", str(page), "--datadir", str(data)]
    )
    noisy, model = [line.split() for line in capsys.readouterr().out.splitlines()[2:4]]
    assert (noisy[0], float(noisy[3]), model[0]) == ("noisy", 0.0, "sep")
    assert model[6] != "0.00" and "second talker" in page.read_text()

    mixture = read_scp(lists[0])["61-1_1089-1"]
    enhance.main([mixture, "-o", str(tmp_path / "y.wav"), "--model", str(exp), "--save_noise"])
    parts = [soundfile.read(tmp_path / f"y{end}.wav")[0] for end in ("_spk1", "_spk2", ".noise")]
    np.testing.assert_allclose(sum(parts), soundfile.read(mixture)[0], atol=2e-4)
    listed = soundfile.read(read_scp(place / "spk2.scp")["61-1_1089-1"])[0]
    np.testing.assert_allclose(parts[1], listed, atol=1e-4)
    with pytest.raises(FeatnormError, match="no place for --save_noise or two talkers"):
        enhance.main([mixture, "-o", "-", "--model", str(exp)])


@pytest.mark.parametrize("rate", [16000, 48000])
def test_talkers_stay_in_one_order_through_windows_channels_and_rates(tmp_path, rate):
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "tiny", num_spk=2))
    noisy = np.stack([voice(3 * rate, n)[1] for n in (1, 2)], axis=1).astype(np.float32)
    whole = enhancer(noisy, rate)
    assert whole.shape == (2, 3 * rate, 2)
    plain = enhancer.enhance

    def swapping(waves):
        """Every other window with its talkers exchanged, as no model is kept from doing."""
        nonlocal turn
        turn += 1
        return [y.flip(0) if turn % 2 else y for y in plain(waves)]

    turn, how = 0, Windowing(window=2.0, overlap=0.6)
    cut = enhancer(noisy[:, 0], rate, how)
    enhancer.enhance = swapping
    np.testing.assert_array_equal(enhancer(noisy[:, 0], rate, how), cut[::-1])


def test_the_order_of_best_si_sdr_counts_and_scores_are_means(tmp_path):
    rng = np.random.default_rng(0)
    first, second = voice(16000, 1)[0], voice(16000, 2)[0]
    waves = {"s1": first, "s2": second, "mix": first + second}
    waves |= {n: x + 0.01 * rng.standard_normal(16000) for n, x in (("a", second), ("b", first))}
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000, subtype="FLOAT")
    path = {name: str(tmp_path / f"{name}.wav") for name in waves}
    refs, metrics = (path["s1"], path["s2"]), ("SI_SDR", "SI_SDRi")

    def scored(*infs: str) -> dict[str, float]:
        row = score_files(Task("u", refs, tuple(path[i] for i in infs), metrics, "", path["mix"]))
        assert not row.reason
        return row.scores

    assert scored("a", "b") == scored("b", "a") and scored("a", "b")["SI_SDRi"] > 10
    assert scored("mix", "mix")["SI_SDRi"] == 0
    hurt = np.where(first == first[9], np.nan, first)
    for name, wave in (("zero", 0 * first), ("hurt", hurt), ("short", first[:8000])):
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000, subtype="FLOAT")
        path[name] = str(tmp_path / f"{name}.wav")
    # What has no score has none in part either, whichever file of it is at fault.
    good = {"r": list(refs), "i": [path["a"], path["b"]], "m": [path["mix"]]}
    for bad in ("zero", "hurt", "short"):
        for side, n in (("r", 0), ("r", 1), ("i", 0), ("i", 1), ("m", 0)):
            now = {key: [*files] for key, files in good.items()}
            now[side][n] = path[bad]
            task = Task("u", tuple(now["r"]), tuple(now["i"]), metrics, "", now["m"][0])
            row = score_files(task)
            assert row.reason and "SI_SDRi" not in row.scores
            assert not row.fault or not row.scores
            alone = score_files(Task("u", refs[:1], (path["b"],), metrics[1:], "", path[bad]))
            assert alone.reason and not alone.scores
    pairs = [((path[s],), (path[i],)) for s, i in (("s1", "b"), ("s2", "a"))]
    alone = [score_files(Task("u", *pair, metrics[:1])).scores["SI_SDR"] for pair in pairs]
    assert scored("a", "b")["SI_SDR"] == sum(alone) / 2
    # One folder with what enhance writes of both is judged talker by talker.
    for name in ("s1/u", "s2/u", "all/u_spk1", "all/u_spk2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    for name, wave in {"s1/u": "s1", "s2/u": "s2", "all/u_spk1": "a", "all/u_spk2": "b"}.items():
        (tmp_path / f"{name}.wav").write_bytes(Path(path[wave]).read_bytes())
    both = [str(tmp_path / "s1"), str(tmp_path / "s2")]
    inferred = {"1": {"u": path["a"], "v": path["a"]}, "2": {"u": path["b"]}}
    for n, files in inferred.items():  # of v the other talker has neither file
        write_scp(tmp_path / f"i{n}.scp", files)
        write_scp(tmp_path / f"r{n}.scp", files)
    lists = [[str(tmp_path / f"{side}{n}.scp") for n in "12"] for side in "ri"]
    odd = scoring.score_set(*lists, tmp_path / "odd", ("SI_SDR",), nj=1)
    assert [row["utt_id"] for row in odd["failures"]] == ["v"]
    summary = scoring.score_set(both, str(tmp_path / "all"), tmp_path / "out", ("SI_SDR",), nj=1)
    found = summary["metrics"]["SI_SDR"]["mean"]
    assert found == pytest.approx(scored("a", "b")["SI_SDR"], abs=1e-4)
