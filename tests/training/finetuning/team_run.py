"""A fine-tuning of drawn pictures, to be started by torchrun: `team_run.py FOLDER EPOCHS [hold]`.

Rank 0 writes its result to `FOLDER/result.pt`, and each process its number to `FOLDER/pid-RANK`.
With `hold`, a run that was not restarted waits before its last epoch, until it is killed.
"""

import dataclasses
import functools
import os
import signal
import sys
from pathlib import Path

import torch

from tests.training.finetuning.runs import QUICK, drawn, run
from training.data.progress import Progress
from training.finetuning import team
from training.finetuning.follow import follow


def main(folder: Path, epochs: int, *, holds: bool) -> int:
    """Run, and write the parameters of network and head, and the epochs."""
    config = dataclasses.replace(QUICK, epochs=epochs, patience=epochs)
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))

    def log(line: str) -> None:
        if holds and restarts == 0 and line.startswith(f"Epoch {epochs - 1} of "):
            signal.pause()

    tuned = run(drawn(2), folder / "checkpoint", config, progress=Progress(log=log))
    content = {
        "network": tuned.backbone.network.state_dict(),
        "head": [torch.from_numpy(part) for part in (tuned.head.weight, tuned.head.bias)],
        "epochs": tuned.epochs,
        "best_epoch": tuned.best_epoch,
        "restarts": restarts,
    }
    torch.save(content, folder / "result.pt")
    return 0


if __name__ == "__main__":
    given = Path(sys.argv[1])
    (given / f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    work = functools.partial(main, given, int(sys.argv[2]), holds="hold" in sys.argv[3:])
    # As `python -m training` ends under torchrun.
    os._exit(team.run_in_team(work, follow))
