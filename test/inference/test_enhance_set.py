"""Stage 4's command: whole files, restartable, every utterance listed."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_models import save_tiny

from featnorm_se import Enhancer
from featnorm_se.bin import enhance_set
from featnorm_se.data.parallel import beside
from featnorm_se.data.scp import enhanced_by, read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import mark_done
from featnorm_se.inference import jobs, plan, together
from featnorm_se.report.experiments import is_outdated
from featnorm_se.upstream.batching import like_lengths


@pytest.fixture
def scp(tmp_path):
    rng = np.random.default_rng(0)
    entries = {}
    for index in range(3):
        path = tmp_path / f"u{index}.flac"
        soundfile.write(path, rng.normal(size=5000 + index) * 0.1, 16000)
        entries[f"u{index}"] = str(path)
    write_scp(tmp_path / "wav.scp", entries)
    return tmp_path / "wav.scp"


def options(tiny_experiment, scp, output, *more: str) -> list[str]:
    places = ["--model", str(tiny_experiment), "--wav_scp", str(scp), "--output", str(output)]
    return [*places, *more]


def test_shards_give_the_same_files(tiny_experiment, scp, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    enhance_set.main(options(tiny_experiment, scp, whole))
    enhance_set.main(options(tiny_experiment, scp, parts, "--shard", "1/2"))
    with pytest.raises(FeatnormError, match="1 of 3 .* not enhanced .*, u1 first"):
        enhance_set.main(options(tiny_experiment, scp, parts, "--list"))
    enhance_set.main(options(tiny_experiment, scp, parts, "--shard", "2/2"))
    enhance_set.main(options(tiny_experiment, scp, parts, "--list"))
    listed = read_scp(parts / "spk1.scp")
    assert list(listed) == ["u0", "u1", "u2"]
    for key, path in listed.items():
        assert Path(path).read_bytes() == Path(read_scp(whole / "spk1.scp")[key]).read_bytes()
        y, rate = soundfile.read(path)
        assert (rate, len(y)) == (16000, 5000 + int(key[1])) and y.std() > 0.001
    (made,) = enhanced_by(listed.values())
    assert (tiny_experiment / made["weights"]).is_file() and "source" not in made


def test_a_mixture_of_two_runs_settings_is_not_listed(tiny_experiment, scp, tmp_path, monkeypatch):
    (tmp_path / "d.yaml").write_text("atten_lim: 20\n")
    other = ["--config", str(tmp_path / "d.yaml")]
    for more in (["--shard", "1/2"], ["--shard", "2/2", *other]):
        enhance_set.main(options(tiny_experiment, scp, tmp_path / "out", *more))
    for more, count in ([], 1), (other, 2):
        with pytest.raises(FeatnormError, match=f"{count} of 3 .* with this model and these set"):
            enhance_set.main(options(tiny_experiment, scp, tmp_path / "out", "--list", *more))
    enhance_set.main(options(tiny_experiment, scp, tmp_path / "out"))

    def cut(path, request):  # as by a kill, when other settings' file is in the place of an older
        if request:
            raise KeyboardInterrupt
        mark_done(path, request)

    monkeypatch.setattr("featnorm_se.inference.jobs.mark_done", cut)
    with pytest.raises(KeyboardInterrupt):
        enhance_set.main(options(tiny_experiment, scp, tmp_path / "out", *other))
    with pytest.raises(FeatnormError, match="1 of 3 .* with this model and these settings, u0"):
        enhance_set.main(options(tiny_experiment, scp, tmp_path / "out", "--list"))


def test_what_is_done_is_not_done_again(tiny_experiment, scp, tmp_path):
    output = tmp_path / "out"
    enhance_set.main(options(tiny_experiment, scp, output))
    kept, gone, stale = (output / "wav" / f"u{index}.wav" for index in range(3))
    before = kept.stat().st_mtime_ns
    gone.write_bytes(gone.read_bytes()[:-2000])  # as a full disk or a cut copy leaves it
    with pytest.raises(FeatnormError, match="1 of 3 utterances were not enhanced"):
        enhance_set.main(options(tiny_experiment, scp, output, "--list"))
    enhance_set.main(options(tiny_experiment, scp, output))
    assert soundfile.info(gone).frames == 5001
    gone.unlink()
    soundfile.write(tmp_path / "u2.flac", np.zeros(4000), 16000)
    enhance_set.main(options(tiny_experiment, scp, output))
    assert kept.stat().st_mtime_ns == before
    assert soundfile.info(gone).frames == 5001
    assert soundfile.info(stale).frames == 4000


def test_another_configuration_beside_the_same_weights_enhances_anew(
    tiny_experiment, scp, tmp_path
):
    folder, output = tmp_path / "exp", tmp_path / "exp" / "enhanced_test"
    shutil.copytree(tiny_experiment, folder, symlinks=True)
    enhance_set.main(options(folder, scp, output))
    before, made = sounds(output), enhanced_by(read_scp(output / "spk1.scp").values())
    assert not is_outdated(folder, "test", {"enhanced_with": made})
    weights = shutil.copy(folder / made[0]["weights"], tmp_path / "other.pth")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["separator_conf"]["feature"] = "projection"
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"max_epoch": 7}))
    assert is_outdated(folder, "test", {"enhanced_with": made})
    jobs.load_once.cache_clear()
    enhance_set.main(options(folder, scp, output, "--model_file", str(weights)))
    made = enhanced_by(read_scp(output / "spk1.scp").values())
    assert not is_outdated(folder, "test", {"enhanced_with": made})  # wherever the weights lie
    assert any(not np.array_equal(before[key], sound) for key, sound in sounds(output).items())


def test_a_float_file_beyond_full_scale_is_enhanced_whole(tiny_experiment, tmp_path):
    x = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    for name, subtype in (("a", "FLOAT"), ("b", "PCM_16")):
        soundfile.write(tmp_path / f"{name}.wav", x, 16000, subtype=subtype)
    write_scp(tmp_path / "wav.scp", {name: str(tmp_path / f"{name}.wav") for name in "ab"})
    enhance_set.main(options(tiny_experiment, tmp_path / "wav.scp", tmp_path / "out"))
    whole, cut = sounds(tmp_path / "out").values()
    assert np.abs(whole).max() > 1 >= np.abs(cut).max()
    model = Enhancer.from_pretrained(tiny_experiment)
    np.testing.assert_allclose(whole, model(x, 16000), atol=1e-6)
    assert len(enhanced_by(read_scp(tmp_path / "out" / "spk1.scp").values())) == 1


def sounds(folder) -> dict[str, np.ndarray]:
    return {key: soundfile.read(path)[0] for key, path in read_scp(folder / "spk1.scp").items()}


def test_every_key_of_the_decoding_yaml_does_something(tiny_experiment, scp, tmp_path, monkeypatch):
    asked = []
    called = jobs.enhance_signals

    def listening(model, signals, how, **rest):
        cut = (how.window, how.overlap, how.stats, model.precision, model.left_in)
        asked.extend([cut] * len(signals))
        return called(model, signals, how, **rest)

    monkeypatch.setattr(jobs, "enhance_signals", listening)
    jobs.load_once.cache_clear()
    config = tmp_path / "decode.yaml"
    config.write_text("window: 9\noverlap: 1.5\nstats: window\nprecision: bf16\natten_lim: 20\n")
    output = tmp_path / "out"
    enhance_set.main(options(tiny_experiment, scp, output, "--config", str(config)))
    assert asked == [(9, 1.5, "window", "bf16", pytest.approx(0.1))] * 3
    coarse = sounds(output)
    # Another setting makes the files anew, and bfloat16 is not float32.
    config.write_text("bf16: false\natten_lim: null\n")
    enhance_set.main(options(tiny_experiment, scp, output, "--config", str(config)))
    assert asked[3:] == [(20, 3, "file", "float32", 0.0)] * 3
    assert any(not np.array_equal(coarse[key], sound) for key, sound in sounds(output).items())
    config.write_text("bf16: false\nprecision: tf32\n")
    with pytest.raises(FeatnormError, match="tf32 and its older name bf16 are set"):
        enhance_set.main(options(tiny_experiment, scp, output, "--config", str(config)))


def test_a_set_is_enhanced_by_one_environment(tiny_experiment, scp, tmp_path, monkeypatch):
    output = tmp_path / "out"

    def times() -> list[int]:
        enhance_set.main(options(tiny_experiment, scp, output))
        return [path.stat().st_mtime_ns for path in sorted((output / "wav").iterdir())]

    with monkeypatch.context() as other:
        other.setattr("featnorm_se.collection.metadata.version", lambda name: "1.0")
        there = times()
    here = times()
    assert all(one < two for one, two in zip(there, here, strict=True))
    assert times() == here


@pytest.mark.parametrize("upstream", ["tera_tiny", "wavlm_tiny"])
def test_short_files_together_are_as_one_by_one(upstream, tmp_path, monkeypatch):
    """As on a GPU, in threads: mute, quiet and stereo too; a bad one spoils no other."""
    model = save_tiny(tmp_path / "exp", upstream)
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(size, 1)) * 0.1 for size in (300, 9000, 16000, 12345, 8000, 400000)]
    noise[1][3000:6000] = 0.0
    noise[2] *= 1e-3
    noise[4] = np.concatenate([noise[4], noise[4][::-1]], axis=1)
    (tmp_path / "in").mkdir()
    for number, x in enumerate(noise):
        soundfile.write(tmp_path / "in" / f"{number}.flac", x, 16000, "PCM_24")
    (tmp_path / "in" / "bad.flac").write_bytes((tmp_path / "in" / "3.flac").read_bytes()[:9000])
    settings = jobs.Settings(model=str(model), device="cpu", high_band="drop")
    found = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(
            together, "like_lengths", lambda n, _, d=device: like_lengths(n, torch.device(d))
        )
        monkeypatch.setattr(jobs, "choose_device", lambda _, d=device: torch.device(d))
        monkeypatch.setattr(jobs, "beside", lambda _, d=device: beside(d))
        out = tmp_path / device
        todo = plan.plan_jobs([tmp_path / "in"], out, False, True)
        outcomes = jobs.enhance_into_folder(todo, out, settings, 1, False)
        assert sorted(o.status for o in outcomes) == ["enhanced"] * 6 + ["failed"]
        found[device] = [soundfile.read(out / f"{n}.flac")[0] for n in range(len(noise))]
    for alone, with_others in zip(*found.values(), strict=True):
        assert np.abs(alone - with_others).max() <= 1e-5 * np.abs(alone).max() + 2**-22


def test_what_a_thread_cannot_write_ends_the_set_soon(monkeypatch):
    taken, threads = [], set()

    def write(found):
        threads.add(threading.current_thread())
        if found[0] == 3:
            raise OSError("disk full")

    def done():
        for number in range(500):
            taken.append(number)
            yield number, []

    with pytest.raises(OSError, match="disk full"), beside("cuda") as run:
        jobs._finish(run, write, done())
    assert len(taken) < 40 and threading.current_thread() not in threads
