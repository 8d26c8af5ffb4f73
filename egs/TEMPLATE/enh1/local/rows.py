"""The rows of the tables that a recipe runs: read from its small files, turned into runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from unloaded import file_identity, known_sites

from featnorm_se.config import flat, merge_configs, read_config
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import read_json
from featnorm_se.metrics.names import resolve
from featnorm_se.names import FEATURE_NORMS, check_norm, resolve_sites, site_names
from featnorm_se.report.experiments import (
    NOISY,
    SCORES_PREFIX,
    drift_file,
    read_experiment,
    same_input,
)
from featnorm_se.training.experiment import read_training_config
from featnorm_se.training.initial import without_figures
from featnorm_se.upstream import upstream_card

_KEYS = {"upstream", "weights", "norm", "norm_site", "baseline", "config", "set"}


@dataclass(frozen=True)
class Row:
    """One row: what is trained, and which row of the same table it is compared with.

    Attributes:
        name: what the table's file calls it.
        upstream: name of the upstream; ``noisy`` for the input itself.
        weights: ``pretrained`` or ``scratch``.
        norm, norm_site: as ``run.sh`` takes them; ``norm_site`` is ``auto`` where that is the same.
        site: where it is normalized, ``auto`` and ``last`` resolved; empty: nowhere.
        baseline: name of the row to compare with; empty: none.
        config: the training YAML.
        overrides: what is set over it, ``key=value`` words as ``run.sh --set`` takes them.
        checkpoint: of the upstream; ``scratch``, or empty: the official one.
        official: whether there is an official one.
    """

    name: str
    upstream: str
    weights: str = ""
    norm: str = ""
    norm_site: str = ""
    site: str = ""
    baseline: str = ""
    config: str = ""
    overrides: str = ""
    checkpoint: str = ""
    official: bool = True

    @property
    def is_noisy(self) -> bool:
        """Whether the row is the input as it is."""
        return self.upstream == NOISY

    def tag(self, seed: int) -> str:
        """Return the name of the row's experiment, the one that ``run.sh`` would give it.

        But for ``max_epoch`` and its like, which ``run.sh`` leaves out: rows may differ in them.
        """
        if self.is_noisy:
            return NOISY
        site = f"_{self.norm_site.replace(',', '+')}" if self.norm_site else ""
        start = f"{self.upstream}_{self.weights}_{self.norm}{site}"
        words = re.split(r"\s+(?=[A-Za-z_][\w.]*=)", self.overrides) if self.overrides else []
        name = "_".join([start, Path(self.config).stem, f"seed{seed}", *words])
        return re.sub(r"[^A-Za-z0-9._+=,@-]", "", name)


@dataclass(frozen=True)
class Setting:
    """What the rows of a table are read with.

    Attributes:
        upstream: takes the place of the rows' upstream (tables of one upstream only).
        suffix: goes after every upstream's name, such as ``_tiny``.
        ckpt_dir: folder of ``<upstream>.pt``, or folders ``<upstream>`` of Hugging Face's, for
            pre-trained rows; empty: the official ones.
        config: the training YAML of rows that name none.
        conf_dir: the recipe's own upstream cards.
    """

    upstream: str = ""
    suffix: str = ""
    ckpt_dir: str = ""
    config: str = "conf/train.yaml"
    conf_dir: str = "conf/upstream"


def read_rows(file: Path, setting: Setting) -> list[Row]:
    """Read a table's rows, ``name: {upstream: ..., norm: ...}`` each, in their order.

    Raises:
        FeatnormError: there is no such table, or a row has an unknown key, upstream, norm, site
            or baseline; the message names the file and the row.
    """
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml")))
        raise FeatnormError(f"no such table: {file.stem}; {file.parent} has {known or 'none'}")
    rows = []
    for name, entry in read_config(file).items():
        try:
            rows.append(_make_row(name, entry, setting))
        except FeatnormError as error:
            raise FeatnormError(f"{file}: {name}: {error}") from error
    upstreams = {row.upstream for row in rows if not row.is_noisy}
    if setting.upstream and len(upstreams) > 1:
        raise FeatnormError(f"the table {file.stem} is of several upstreams: no --upstream there")
    names = {row.name for row in rows}
    for row in rows:
        if row.baseline and row.baseline not in names:
            raise FeatnormError(f"{file}: {row.name}: there is no row {row.baseline!r}")
    return rows


def _make_row(name: str, entry: Any, setting: Setting) -> Row:
    if not isinstance(entry, dict) or not entry.keys() <= _KEYS or "upstream" not in entry:
        raise FeatnormError(f"the keys of a row are {', '.join(sorted(_KEYS))}, upstream at least")
    upstream = entry["upstream"]
    if upstream == NOISY:
        return Row(name, NOISY)
    if upstream != "fbank":  # the control: it has one size and no weights
        upstream = (setting.upstream or upstream) + setting.suffix
    card = upstream_card(upstream, Path(setting.conf_dir) if setting.conf_dir else None)
    weights = entry.get("weights")
    if weights not in ("pretrained", "scratch"):
        raise FeatnormError(f"weights is {weights!r}: pretrained or scratch is wanted")
    checkpoint = _checkpoint(upstream, weights, setting.ckpt_dir)
    norm = check_norm(str(entry.get("norm")))
    site = acting = ""
    if norm in FEATURE_NORMS:
        layers = int(card["layers"])
        site = str(entry.get("norm_site", "auto"))
        sites = site_names(layers)
        if checkpoint and Path(checkpoint).is_dir():  # which may have others than the card
            sites = known_sites(card, checkpoint)
            layers = len(sites) - 2
        site = f"layer.{(layers + 1) // 2}" if site == "middle" else site
        lowest = str(card.get("lowest_site", sites[0]))
        resolve_sites(site, sites, lowest)
        # A single run calls it auto too.
        site = "auto" if site == lowest else site
        acting = site.replace("auto", lowest)
        acting = acting.replace("last", f"layer.{layers}")
    baseline, config = str(entry.get("baseline", "")), str(entry.get("config", setting.config))
    overrides, official = entry.get("set", ""), bool(card.get("source"))
    if not isinstance(overrides, str):
        raise FeatnormError(f"set is {overrides!r}: key=value words in quotes are wanted")
    found = (name, upstream, weights, norm, site, acting, baseline, config, overrides, checkpoint)
    row = Row(*found, official)
    if len(row.tag(0)) > 200:
        raise FeatnormError("set is too long for the name of a folder: make it a config")
    return row


def _checkpoint(upstream: str, weights: str, folder: str) -> str:
    """Return what ``--upstream_ckpt`` is to name: ``scratch``, in a folder, or the official one."""
    if weights == "scratch":
        return weights
    if not folder:
        return ""
    here, file = Path(folder) / upstream, Path(folder) / f"{upstream}.pt"
    return str(here if here.is_dir() and not file.exists() else file)  # Hugging Face's folder


def arguments(row: Row, seed: int) -> list[str]:
    """Return the options of ``run.sh`` that run a row."""
    options = {
        "upstream": row.upstream,
        "upstream_ckpt": row.checkpoint,
        "norm": row.norm,
        "norm_site": row.norm_site or "auto",
        "config": row.config,
        "seed": str(seed),
        "tag": row.tag(seed),
    }
    options |= {"set": row.overrides} if row.overrides else {}
    return [word for key, value in options.items() for word in (f"--{key}", value)]


def plan_runs(
    rows: Sequence[Row],
    seeds: Sequence[int],
    expdir: Path,
    testset: str = "test",
    drift: bool = False,
    given: Sequence[str] = (),
    datadir: Path = Path("data"),
) -> list[dict[str, Any]]:
    """Return what is still to be run, without doubles; warn of what is done otherwise.

    ``given`` are options of ``run.sh`` for every row. Scores count that are of the test pairs in
    ``datadir`` as they are now.

    Returns:
        ``tag``, first ``stage`` (2; 4 when it is trained; 5 when only the drift is missing),
        ``drift`` (whether that is wanted) and ``arguments`` of ``run.sh``.
    """
    runs: dict[str, dict[str, Any]] = {}
    needed: set[str] = set()
    noisy = read_experiment(expdir / NOISY)
    lists = datadir / testset / "wav.scp"
    scored = noisy.folder / f"{SCORES_PREFIX}{testset}" / "summary.json"
    both = lists.is_file() and scored.is_file()
    prepared = datadir / "prepare.json"
    sources = read_json(prepared).get("sources", {}) if prepared.is_file() else {}
    changed = both and lists.stat().st_mtime > scored.stat().st_mtime
    for seed in seeds:
        for row in rows:
            tag = row.tag(seed)
            folder = expdir / tag
            found = read_experiment(folder)
            stage = 4 if found.run.get("finished") else 2
            scores = found.summaries.get(testset)
            # A stage 4 that refused them left some too; and the pairs may have changed since.
            same = not changed and same_input((found, noisy), testset)
            same = same and (scored.is_file() or not any(found.test_pairs(testset)))
            if scores and not scores.get("failures") and same and found.has_ended:
                stage = 5 if _is_as_asked(scores, given) else 4
            if stage == 2 and not (row.checkpoint or row.official):
                fault = f"there are no official weights of {row.upstream}"
                raise FeatnormError(f"{row.name}: {fault}: name a --ckpt_dir")
            if stage == 2 and row.checkpoint not in ("", "scratch"):
                needed.add(row.checkpoint)
            if stage > 2 and not row.is_noisy:
                _warn_of_others(folder, found.run, row, given, sources)
            measured = not drift or drift_file(folder).is_file()
            if row.is_noisy or (stage == 5 and measured):
                continue
            job = {"tag": tag, "stage": stage, "drift": drift, "arguments": arguments(row, seed)}
            runs[tag] = job
    for path in sorted(needed):
        if not Path(path).exists():
            say(f"warning: there is no checkpoint {path} yet")
    return list(runs.values())


def _is_as_asked(scores: dict[str, Any], given: Sequence[str]) -> bool:
    """Whether scores are what the options of ``run.sh`` ask of stage 4, as far as that is known."""
    asked = {word.lstrip("-").replace("-", "_"): value for word, value in pairwise(given)}
    if asked.keys() & {"inference_config", "inference_model"}:
        return False  # stage 4 looks at it; what is as asked for stays
    metrics = asked.get("metrics", "").split()
    return not metrics or {*resolve(metrics)} <= scores.get("metrics", {}).keys()


_identity = cache(file_identity)  # rows share checkpoints, of hundreds of megabytes


def _warn_of_others(
    folder: Path, made: dict[str, Any], row: Row, given: Sequence[str], sources: dict[str, str]
) -> None:
    """The name of a row's folder says neither data, checkpoint nor --set, nor what the YAML held.

    ``sources`` are of the data that is prepared now, by set.
    """
    trained_on = made.get("data_sources") or {}
    if any(
        trained_on.get(part, sources[part]) != sources[part] for part in sources.keys() - {"test"}
    ):
        say(f"warning: {folder} was trained on other recordings than are prepared now")
    was, now = (
        " ".join(value for key, value in pairwise(words) if key == "--set")
        for words in (shlex.split(made.get("command", "")), given)
    )
    now = f"{now} {row.overrides}".strip()
    weights = made.get("upstream_ckpt") or ""
    pairs = {"--set": (was, now), "--upstream_ckpt": (weights, row.checkpoint)}
    if identity := _identity(row.checkpoint):
        pairs["weights"] = (made.get("upstream_identity"), identity)
    if config := without_figures(made.get("config") or {}):
        old = flat(config)
        new = flat(merge_configs(config, read_training_config(Path(row.config))))
        over = tuple(re.findall(r"([\w.]+)=", was))
        pairs |= {key: (old.get(key), new[key]) for key in new if not key.startswith(over)}
    for option, (then, asked) in pairs.items():
        if "command" in made and then != asked:
            say(
                f"warning: {folder} was trained with {option} {then!r}, now it is {asked!r}: what"
                " is done stays (another --expdir runs it again)"
            )
