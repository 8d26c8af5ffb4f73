"""``featnorm-se export-upstream``: what s3prl's genuine experts make of the file."""

import pytest
import torch
from signals import FAMILIES, batch, genuine_expert, noise
from test_parity import worst_difference
from tiny_models import save_tiny

from featnorm_se import Enhancer, FeatureStats, load_upstream
from featnorm_se.bin.main import main
from featnorm_se.files import sha256_file
from featnorm_se.report.pack import pack


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_experts_give_the_experiments_features(family, packed, tmp_path, monkeypatch, capsys):
    source, output = save_tiny(tmp_path / "exp", f"{family}_tiny"), tmp_path / "out" / "up.pt"
    separator = Enhancer.from_pretrained(source).separator
    if packed:
        pack(source, tmp_path / "m.zip")
        source = tmp_path / "m.zip"
    assert main(["export-upstream", str(source), str(output)]) == 0
    assert capsys.readouterr().out == f"written: {output}\nwritten: {output.with_suffix('.npz')}\n"
    expert = genuine_expert(family, output, monkeypatch)
    stats = FeatureStats.load(output.with_suffix(".npz"))
    (site,) = separator.norm_sites
    norm = separator.upstream.norms[site]
    torch.testing.assert_close(torch.from_numpy(stats[site].mean).float(), norm.mean)
    torch.testing.assert_close(torch.from_numpy(stats[site].std).float(), norm.std)
    again = load_upstream(f"{family}_tiny", output)
    stats.check("", identity=again.identity, sites={site: again.sites[site]}, kind="clean")
    separator.upstream.norms.clear()
    separator.upstream.eval()
    for wave in noise(16000, 9001):
        assert worst_difference(separator.upstream, expert, wave) < 1e-5
    with torch.no_grad():
        assert torch.equal(again(*batch([wave]))[0], separator.upstream(*batch([wave]))[0])


def test_without_clean_statistics_and_what_cannot_be_written(tmp_path, capsys):
    for norm in ("none", "level", "instance"):
        folder, output = save_tiny(tmp_path / norm, norm=norm), tmp_path / f"{norm}.pt"
        assert main(["export-upstream", str(folder), str(output)]) == 0
        assert capsys.readouterr().out == f"written: {output}\n"
        assert not output.with_suffix(".npz").exists()
    before = sha256_file(output)
    assert main(["export-upstream", str(folder), str(output)]) == 0
    assert sha256_file(output) == before
    (tmp_path / "both.npz").mkdir()  # of two files none is written if one cannot be
    source = save_tiny(tmp_path / "exp")
    assert main(["export-upstream", str(source), str(tmp_path / "both.pt")]) == 1
    assert "both.npz: Is a directory" in capsys.readouterr().err
    assert not (tmp_path / "both.pt").exists()
