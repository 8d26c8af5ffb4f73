"""``featnorm-se app``: the page in a real browser, with no network."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from featnorm_se import Enhancer

NAMES = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Chromium with one page, told what to do through a pair of pipes.

    Attributes:
        asked: the addresses that the page has asked for.
    """

    def __init__(self, profile: Path) -> None:
        theirs, self._to = os.pipe()
        ours, answers = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,1000"]
        options += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs} 4>&{answers}', str(CHROMIUM)]
        self.process = subprocess.Popen(
            [*command, *options], pass_fds=(theirs, answers), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(answers)
        self._from, self._left, self._number = ours, b"", 0
        self._session: dict[str, str] = {}
        self.asked: list[str] = []
        (target,) = self.tell("Target.getTargets")["targetInfos"]
        attached = self.tell("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.tell("Network.enable")

    def tell(self, method: str, **params: Any) -> dict[str, Any]:
        """Give one command of the DevTools protocol and return its answer."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._to, json.dumps(order).encode() + b"\0")
        while True:
            while b"\0" not in self._left:
                more = os.read(self._from, 1 << 20)
                assert more, "chromium has ended"
                self._left += more
            text, _, self._left = self._left.partition(b"\0")
            answer = json.loads(text)
            if answer.get("method") == "Network.requestWillBeSent":
                self.asked.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, script: str, seconds: float = 60) -> Any:
        """Return a script's value as soon as it is one that counts as true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            told = self.tell("Runtime.evaluate", expression=script, returnByValue=True)
            if value := told["result"].get("value"):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def upload(self, path: Path) -> None:
        """Give a file to the page's first place for one."""
        self.value("!!document.querySelector('input[type=file]')")
        root = self.tell("DOM.getDocument")["root"]["nodeId"]
        found = self.tell("DOM.querySelector", nodeId=root, selector="input[type=file]")
        self.tell("DOM.setFileInputFiles", nodeId=found["nodeId"], files=[str(path)])

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()
        os.close(self._to)
        os.close(self._from)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    running = Browser(tmp_path / "profile")
    yield running
    running.close()


@pytest.fixture
def app(tiny_experiment: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, whose way out is a proxy that is not there."""
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "featnorm_se.bin.main", "app", "--model", str(tiny_experiment)]
    environment = {**os.environ, **nowhere, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as running:
        yield running
        running.terminate()
        running.communicate()
    assert running.returncode == 143
    assert not list(tmp_path.glob("tmp*"))  # nobody's recordings stay


@pytest.mark.skipif(CHROMIUM is None or not find_spec("gradio"), reason="needs gradio, chromium")
def test_a_file_is_uploaded_and_comes_back_enhanced(app, browser, tiny_experiment, tmp_path):
    noisy = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1
    expected = Enhancer.from_pretrained(tiny_experiment)(noisy, 16000)
    soundfile.write(tmp_path / "noisy.wav", noisy, 16000, "FLOAT")
    (tmp_path / "bad.wav").write_text("no audio")
    assert app.stderr
    line = app.stderr.readline()
    assert line.startswith("the page is at http://127.0.0.1:"), line + app.stderr.read()
    address = line.split()[4]
    browser.tell("Page.navigate", url=address)
    browser.upload(tmp_path / "noisy.wav")
    drawn = "[...document.querySelectorAll('svg[role=img]')].map(svg => svg.ariaLabel)"
    titles = ["Spectrogram of noisy.wav", "Spectrogram of noisy.enhanced.wav"]
    assert browser.value(f"{drawn}.length == 2 && {drawn}") == titles
    links = "[...document.querySelectorAll('a[download]')].map(link => link.href)"
    _, enhanced = browser.value(f"{links}.length == 2 && {links}")
    with urllib.request.urlopen(enhanced) as answer:
        samples, rate = soundfile.read(io.BytesIO(answer.read()), dtype="float32")
    assert rate == 16000 and np.allclose(samples, expected, atol=1e-5)
    # A bad file: one line in place of the pictures, and the page goes on.
    browser.value("document.querySelector('button[aria-label=Clear]').click() || true")
    browser.upload(tmp_path / "bad.wav")
    text = "document.body.innerText"
    assert browser.value(f"{text}.includes('bad.wav is') && {drawn}.length == 0")
    assert all(url.startswith((address, "data:", "blob:")) for url in browser.asked)
