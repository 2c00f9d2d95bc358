"""`python -m training audit`: find faults of a data set, without training on it."""

import argparse
from pathlib import Path
from typing import Any, Final

from models.terminal import write_line
from models.text import clean
from training.cli.options import add_backbone_option, add_data_options, add_run_options
from training.cli.progress.reporter import add_progress_options, report_run
from training.cli.progress.steps import make_steps
from training.config import FitConfig, default_cache
from training.data.tables import LABELS_TABLE
from training.errors import OutputError
from training.publish.outputs import check_file, check_folder

_FINDINGS_STATUS: Final = 7  # `--fail-on`: a finding of that level, or of a worse one


def add_command(commands: Any) -> None:
    """Declare the subcommand and its options."""
    parser = commands.add_parser(
        "audit",
        help="find faults of a data set, without training on it",
        description="Look for unreadable files, copies, wrong labels, odd pictures and shortcuts. "
        f"Ends with status 0, or {_FINDINGS_STATUS} if --fail-on applies.",
    )
    add_data_options(parser)
    parser.add_argument(
        "--fail-on",
        choices=("error", "warning", "info"),
        help=f"end with status {_FINDINGS_STATUS} if anything of this level, or a worse one, is "
        "found: serious findings (error), warnings, notes (info)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there, too")
    parser.add_argument(
        "--propose-labels",
        type=Path,
        metavar="FILE",
        help="write the labels that may be wrong, with the model's suggestions, as a labels.csv to "
        "look through",
    )
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
    """Print the checks and the findings, and return the exit status of the findings."""
    steps = make_steps("prepare", "features", "audit")
    facts = {"data": clean(str(arguments.data))}
    with report_run(
        steps, facts, form=arguments.progress, file=arguments.progress_file
    ) as reporter:
        with reporter.imports():
            from training.audit.findings import LEVELS, format_lines, worst_level, write_json
            from training.audit.proposed_labels import write_proposed_labels
            from training.audit.standalone import audit_folder

        cache = arguments.cache or default_cache()
        _check_outputs(arguments, cache)
        audited = audit_folder(
            arguments.data,
            FitConfig(backbone=arguments.backbone, seed=arguments.seed),
            cache=cache,
            model=not arguments.no_model,
            weights=arguments.weights,
            groups=arguments.groups,
            group_pattern=arguments.group_pattern,
            progress=reporter.progress,
        )
        findings = audited.findings
        if arguments.json:
            looked_at = {
                "pictures": audited.pictures,
                "checks": list(audited.checks),
                "not_checked": list(audited.not_checked),
            }
            write_json(findings, arguments.json, looked_at)
        if arguments.propose_labels:
            write_proposed_labels(arguments.propose_labels, audited.label_issues, audited.decided)
        levels = {level: sum(each.level == level for each in findings) for level in LEVELS}
        reporter.finish({"levels": levels})
    for line in [*audited.sentences, *format_lines(findings)]:
        write_line(clean(line))
    if arguments.propose_labels:
        write_line(clean(_proposal_line(arguments, len(audited.label_issues))))
    found = worst_level(findings)
    if arguments.fail_on is None or found is None:
        return 0
    return _FINDINGS_STATUS if LEVELS.index(found) <= LEVELS.index(arguments.fail_on) else 0


def _check_outputs(arguments: argparse.Namespace, cache: Path) -> None:
    """Raise before the work if an output cannot be written.

    Raises:
        OutputError: One of them cannot.
    """
    check_folder(cache, "the cache")
    if arguments.json:
        check_file(arguments.json, "the file of findings")
    if arguments.propose_labels:
        check_file(arguments.propose_labels, "the table of proposed labels")
        if arguments.propose_labels.exists():
            raise OutputError(
                f"{arguments.propose_labels} exists, and is not replaced: give another name."
            )


def _proposal_line(arguments: argparse.Namespace, number: int) -> str:
    path = arguments.propose_labels
    if not number:
        return f"{path}: no label to propose; it holds the rows of the present labels.csv."
    return (
        f"{path}: {number:,} proposed. Look at each picture, delete the rows that are not right, "
        f"and save the rest as {LABELS_TABLE} in {arguments.data}."
    )
