"""A page to try a model in the browser: hear and see a recording, noisy and enhanced."""

import argparse
import html
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser
from featnorm_se.data.parallel import set_threads
from featnorm_se.errors import FeatnormError, say


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("featnorm-se app", "A page to try a model in the browser, on this machine.")
    add = parser.add_argument
    add("--model", help="as for `featnorm-se enhance`; without it the shipped one")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets the network in")
    add("--port", type=int, help="port to listen at; without it the first free one from 7860 on")
    add("--share", action="store_true", help="a public link too, through gradio's servers")
    return parser


def main(argv: Sequence[str]) -> None:
    """Serve the page until Ctrl-C."""
    args = get_parser().parse_args(argv)
    set_threads()
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is told or kept, and a cluster's proxy is not asked for a page of this machine.
        proxied = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        os.environ |= {"no_proxy": f"{proxied},localhost,{args.host}", "GRADIO_TEMP_DIR": folder}
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False"}
        try:
            import gradio
        except ImportError as error:
            raise FeatnormError(f"no gradio ({error}): pip install 'featnorm_se[app]'") from error
        from featnorm_se.inference.jobs import Job, Settings, enhance_file, load_once
        from featnorm_se.inference.model_file import SHIPPED

        settings = Settings(model=args.model or str(SHIPPED))
        if load_once(settings).talkers > 1:
            raise FeatnormError("the page plays one talker: this model is for featnorm-se enhance")

        def enhance(name: str | None) -> tuple[str | None, str, str]:
            if name is None:
                return None, "", ""
            source = Path(name)
            target = source.with_name(f"{source.stem}.enhanced.wav")
            try:
                enhance_file(load_once(settings), Job(source, target), settings)
                before, after = _draw(source, target)
                return str(target), before, after
            except FeatnormError as error:
                return None, html.escape(str(error).replace(f"{source.parent}/", "")), ""

        look = {"type": "filepath", "buttons": ["download"]}
        with gradio.Blocks(title="featnorm_se", delete_cache=(600, 3600)) as page:
            gradio.Markdown(f"# featnorm_se: {Path(settings.model).name}")
            with gradio.Row():
                noisy = gradio.Audio(label="noisy", **look)
                enhanced = gradio.Audio(label="enhanced", interactive=False, **look)
            with gradio.Row():
                pictures = [gradio.HTML(), gradio.HTML()]
            noisy.change(enhance, noisy, [enhanced, *pictures])
        how = {"server_name": args.host, "server_port": args.port, "share": args.share}
        how |= {"quiet": True, "show_error": True, "ssr_mode": False, "prevent_thread_lock": True}
        try:
            _, local, public = page.launch(**how)
        except (OSError, ValueError) as error:
            raise FeatnormError(f"no page at {args.host}, port {args.port}: {error}") from error
        say(f"the page is at {public or local} (Ctrl-C ends it)")
        page.block_thread()


def _draw(*paths: Path) -> list[str]:
    """Draw the first channel of each, 30 s at most; 0 dB is the first one's strongest bin."""
    from featnorm_se.data.audio import open_audio
    from featnorm_se.report.plots import magnitudes, spectrogram

    pictures, full_scale = [], 0.0
    for path in paths:
        with open_audio(path) as file:
            rate = file.samplerate
            signal = file.read(30 * rate, dtype="float32", always_2d=True)[:, 0]
        full_scale = full_scale or float(magnitudes(signal, rate).max()) or 1.0
        pictures.append(spectrogram(signal, rate, full_scale, f"Spectrogram of {path.name}"))
    return pictures
