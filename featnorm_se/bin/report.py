"""Write RESULTS.md, and on request the report page, from an experiments folder."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run
from featnorm_se.errors import say


def get_parser() -> argparse.ArgumentParser:
    """Return the command line of ``featnorm_se.bin.report``."""
    parser = Parser(
        prog="featnorm-se report",
        description="Collect exp/*/run.json and exp/*/scores_*/summary.json into RESULTS.md, one"
        " table a test set, and print the tables.",
    )
    add = parser.add_argument
    add("--expdir", default="exp", help="folder of experiments")
    add("--output", default="RESULTS.md", help="the Markdown file to write")
    add("--title", default="Results", help="its heading")
    add("--html", help="also write this page, such as report/index.html")
    add("--datadir", default="data", help="<testset>/{wav,spk1}.scp, for the page's recordings")
    return parser


def main(argv: Sequence[str]) -> None:
    """Write the results and print them."""
    args = get_parser().parse_args(argv)
    from featnorm_se.files import write_text
    from featnorm_se.report.experiments import read_experiments
    from featnorm_se.report.results import results_markdown, results_text

    experiments = read_experiments(args.expdir)
    write_text(args.output, results_markdown(experiments, args.title))
    print(results_text(experiments))
    print(f"\nwritten: {args.output}")
    if args.html:
        from featnorm_se.report.page import build_page

        if not Path(args.datadir).is_dir():
            say(f"warning: there is no --datadir {args.datadir}: no recordings are on the page")
        write_text(args.html, build_page(experiments, args.datadir, args.title))
        print(f"written: {args.html}")


if __name__ == "__main__":
    raise SystemExit(run(main))
