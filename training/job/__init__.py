"""The training job: pictures in, a published bundle out."""

from training.job.fitted import Fitted
from training.job.options import FitOptions
from training.job.run import fit

__all__ = ["FitOptions", "Fitted", "fit"]
