"""Optimizers that look around before they step, behind one protocol: see :mod:`.two_pass`."""

from igsref.training.gradient_norm import GR, gradient_norm_penalty
from igsref.training.sam import ASAM, SAM, filter_wise_ASAM
from igsref.training.two_pass import TwoPass

__all__ = ["ASAM", "GR", "SAM", "TwoPass", "filter_wise_ASAM", "gradient_norm_penalty"]
