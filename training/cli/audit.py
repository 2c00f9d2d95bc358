"""`python -m training audit`: look for faults of a data set, without training on it."""

import argparse
from pathlib import Path
from typing import Any, Final

from models.terminal import write_line
from models.text import clean
from training.cli.options import add_backbone_option, add_data_options, add_run_options
from training.cli.progress.reporter import add_progress_options, report_run
from training.cli.progress.steps import make_steps
from training.config import FitConfig, default_cache

_FINDINGS_STATUS: Final = 7  # `--fail-on`: a finding of that level, or of a worse one


def add_command(commands: Any) -> None:
    """Declare the subcommand and its options."""
    parser = commands.add_parser(
        "audit",
        help="look for faults of a data set, without training on it",
        description="Look for unreadable files, copies, wrong labels, odd pictures and shortcuts. "
        f"Ends with status 0, or {_FINDINGS_STATUS} if --fail-on applies.",
    )
    add_data_options(parser)
    parser.add_argument(
        "--fail-on",
        choices=("error", "warning", "info"),
        help=f"end with status {_FINDINGS_STATUS} if anything of this level, or a worse one, is "
        "found",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there, too")
    parser.add_argument(
        "--no-model",
        action="store_true",
        help="load no network, and skip label issues",
    )
    add_backbone_option(parser)
    add_run_options(parser)
    add_progress_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings, and return the exit status that they give."""
    steps = make_steps("prepare", "features", "audit")
    with report_run(arguments, steps, {"data": clean(str(arguments.data))}) as reporter:
        from training.audit.findings import LEVELS, format_lines, worst_level, write_json
        from training.audit.standalone import audit_folder

        findings = audit_folder(
            arguments.data,
            FitConfig(backbone=arguments.backbone, seed=arguments.seed),
            cache=arguments.cache or default_cache(),
            model=not arguments.no_model,
            weights=arguments.weights,
            groups=arguments.groups,
            group_pattern=arguments.group_pattern,
            progress=reporter.progress,
        )
        if arguments.json:
            write_json(findings, arguments.json)
        levels = {level: sum(each.level == level for each in findings) for level in LEVELS}
        reporter.finish({"levels": levels})
    for line in format_lines(findings):
        write_line(clean(line))
    found = worst_level(findings)
    if arguments.fail_on is None or found is None:
        return 0
    return _FINDINGS_STATUS if LEVELS.index(found) <= LEVELS.index(arguments.fail_on) else 0
