"""Two sets of files in; ``scores.csv`` and ``summary.json`` out."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featnorm_se import __version__
from featnorm_se.data.corpus import NOISE_SUFFIX, match_names, read_listing
from featnorm_se.data.datadir import read_log
from featnorm_se.data.scp import enhanced_by
from featnorm_se.errors import FeatnormError
from featnorm_se.files import (
    PathLike,
    csv_text,
    is_done,
    mark_done,
    read_json,
    read_record,
    sha256_file,
    stamp,
    write_json,
    write_text,
)
from featnorm_se.metrics.names import DEFAULT_METRICS, check_packages, package_versions, resolve
from featnorm_se.metrics.summary import summarize
from featnorm_se.metrics.worker import DIED, Row, Task, score_tasks
from featnorm_se.progress import progress

CACHE_NAME = "scores.cache.jsonl"
Listing = Mapping[str, str]


def score_set(
    ref: PathLike | Sequence[PathLike],
    inf: PathLike | Sequence[PathLike],
    output: PathLike,
    metrics: Sequence[str] = DEFAULT_METRICS,
    nj: int = 1,
    utt2cond: PathLike | None = None,
    mix: PathLike | None = None,
) -> dict[str, Any]:
    """Score two sets, write ``scores.csv`` and ``summary.json``, return the latter's content.

    Every utterance that either set names gets a row; one that cannot be scored has its reason
    there. What an earlier call has scored, with the same files and versions, is kept, other metrics
    too: hold ``locked(output)``.

    Args:
        ref: clean speech, a folder or an scp file, or one a talker.
        inf: the speech to judge, likewise (in any order, or one set that is judged against each),
            with the same utterance names or one suffix. ``x.noise`` beside ``x`` is left out.
        output: the folder to write to.
        metrics: names of metrics.
        nj: processes.
        utt2cond: a file of ``<utt> <noise> <snr>`` lines, for means by condition.
        mix: what ``inf`` was made of; SI_SDRi is over it.

    Raises:
        FeatnormError: an input cannot be listed, the sets have no utterance in common, a metric
            is unknown or its package is missing.
    """
    names = resolve(metrics)
    check_packages(names)
    if "SI_SDRi" in names and not mix:
        raise FeatnormError("SI_SDRi is over the input: name that with --mix")
    sides = [[x] if isinstance(x, str | os.PathLike) else list(x) for x in (ref, inf)]
    mixes = [read_listing(mix)] if mix else []
    refs, infs, matched = _list_both(sides[0], sides[1], mixes)
    conditions = read_log(Path(utt2cond)) if utt2cond else None
    if conditions == {}:
        fault = "is not there, or names no utterance: <utt> <noise> <snr> a line is wanted"
        raise FeatnormError(f"{utt2cond} {fault}")
    table, summary_file = Path(output) / "scores.csv", Path(output) / "summary.json"
    request = _make_request((refs, infs, mixes), conditions, names, summary_file)
    names = request["metrics"]
    if table.is_file() and is_done(summary_file, {**request, "complete": True}):
        return dict(read_json(summary_file))
    rows = _score_all((refs, infs, mixes), Path(output), names, nj)
    summary = {"ref": " ".join(map(str, sides[0])), "inf": " ".join(map(str, sides[1]))}
    summary |= {**summarize(rows, names, conditions), **matched}
    files = [Path(file) for _, file in sorted(infs[0].items())]
    summary["input"] = _hash([read_record(x).get("source", stamp([x])) for x in files])
    summary["clean"] = stamp([file for each in refs for _, file in sorted(each.items())])
    summary |= {key: request[key] for key in ("enhanced_with", "versions")}
    mark_done(summary_file, {})  # what is there was made of something else
    write_text(table, to_csv(rows, names))
    write_json(summary_file, summary)
    mark_done(summary_file, {**request, "complete": not summary["failures"]})
    return summary


def _make_request(
    sides: Sequence[Sequence[Listing]], conditions: object, names: Sequence[str], summary: Path
) -> dict[str, Any]:
    """Return what scores are of; what an earlier summary of the same has is asked for too."""
    files = {
        "lists": _hash([sides, conditions]),
        "files": stamp([file for side in sides for each in side for file in each.values()]),
        "enhanced_with": enhanced_by([file for each in sides[1] for file in each.values()]),
    }

    def ask(metrics: Sequence[str]) -> dict[str, Any]:
        versions = {"featnorm_se": __version__, **package_versions(metrics)}
        return {**files, "metrics": metrics, "versions": versions}

    earlier = read_record(summary).get("metrics", names)
    return ask(resolve([*names, *earlier]) if is_done(summary, ask(earlier)) else names)


def _list_both(
    clean: list[PathLike], judged: list[PathLike], mixes: list[dict[str, str]]
) -> tuple[list[dict[str, str]], list[dict[str, str]], dict[str, Any]]:
    """List both sets of each talker under the clean names, and what made the first's meet."""
    if len(judged) == 1:
        judged = judged * len(clean)
    if len(clean) != len(judged):
        raise FeatnormError(f"--ref names {len(clean)} talkers and --inf {len(judged)}")
    found = []
    for number, (ref, inf) in enumerate(zip(clean, judged, strict=True), start=1):
        refs, infs = read_listing(ref), read_listing(inf)
        if len(clean) > 1:  # enhance writes all talkers to one folder
            infs = {k: path for k, path in infs.items() if k.endswith(f"_spk{number}")} or infs
        noise = {name + NOISE_SUFFIX for name in infs} & infs.keys() - refs.keys()
        infs = {name: path for name, path in infs.items() if name not in noise}
        twins, rule = match_names(infs, refs)
        done = {"names_matched_by": rule, "noise_files_left_out": len(noise)}
        named = {twins[name]: path for name, path in infs.items()}
        if not refs.keys() & named.keys():
            fault = f"{ref} and {inf} have no utterance in common (such as {min(refs)} and"
            mend = "name folders or scp files with the same names"
            raise FeatnormError(f"{fault} {min(named)}): {mend}")
        found.append((refs, named, {key: value for key, value in done.items() if value}))
    mixed = {os.path.realpath(path) for one in mixes for path in one.values()}
    both = [one[0] for one in found], [one[1] for one in found]
    for side in both:
        places = [{*map(os.path.realpath, one.values())} - mixed for one in side]
        if len(places) == 2 and places[0] & places[1]:
            raise FeatnormError("both talkers are of the same files: name a folder or scp of each")
    return *both, found[0][2]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _score_all(
    sides: Sequence[Sequence[Listing]], output: Path, metrics: tuple[str, ...], nj: int
) -> list[Row]:
    """Return one row an utterance, sorted by name, from the cache or by scoring."""
    rows: dict[str, Row] = {}
    tasks: list[Task] = []
    cache = output / CACHE_NAME
    known = _read_cache(cache)
    made_by = _hash([metrics, package_versions(metrics)])
    refs, infs, mixes = sides
    pairs = [(ref, inf, "file to score") for ref, inf in zip(refs, infs, strict=True)]
    pairs += [(refs[0], mix, "input in --mix") for mix in mixes]
    for name in sorted(set().union(*refs, *infs)):
        if fault := next(filter(None, (_find_fault(name, *pair) for pair in pairs)), ""):
            rows[name] = Row(name, fault=fault)
            continue
        ref, inf, mix = (tuple(one[name] for one in side) for side in sides)
        key = _hash([name, *map(sha256_file, (*ref, *inf, *mix)), made_by])
        if key in known:
            rows[name] = known[key]
        else:
            tasks.append(Task(name, ref, inf, metrics, key, mix[0] if mix else ""))
    tasks.sort(key=lambda task: os.path.getsize(task.inf[0]), reverse=True)
    done = progress(score_tasks(tasks, nj), "scoring", len(tasks), "utterance") if tasks else ()
    for task, row in done:
        rows[task.utt_id] = row
        if not row.fault and DIED not in row.reasons.values():  # it may be otherwise next time
            cache.parent.mkdir(parents=True, exist_ok=True)
            with open(cache, "a", encoding="utf-8") as handle:
                # The line's end goes before it: it parts the row from one that a kill cut.
                handle.write("\n" + json.dumps({"key": task.key, "row": asdict(row)}))
    return [rows[name] for name in sorted(rows)]


def _read_cache(path: Path) -> dict[str, Row]:
    """Read the rows by their keys; a line that a kill cut is left out."""
    rows: dict[str, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            rows[entry["key"]] = Row(**entry["row"])
    return rows


def _find_fault(name: str, refs: Listing, infs: Listing, what: str) -> str:
    """Return why an utterance's files cannot be read at all; empty when both are there."""
    if name not in refs:
        return f"no reference beside {infs.get(name, 'it, for one of the talkers')}"
    if name not in infs:
        return f"no {what} beside the reference {refs[name]}"
    missing = next((path for path in (refs[name], infs[name]) if not os.path.isfile(path)), None)
    return f"no such audio file: {missing}" if missing else ""


def to_csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Write ``utt_id``, a column a metric (six decimals, empty when there is none), ``reason``."""
    table = [["utt_id", *metrics, "reason"]]
    for row in rows:
        values = [f"{row.scores[m]:.6f}" if m in row.scores else "" for m in metrics]
        table.append([row.utt_id, *values, row.reason])
    return csv_text(table)
