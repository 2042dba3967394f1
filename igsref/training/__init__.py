"""Optimizers that look around before they step, behind one protocol, and a tracker of the IGS.

See :mod:`.two_pass` and :mod:`.track`.
"""

from igsref.training.ekfac import EKFAC
from igsref.training.gradient_norm import GR, gradient_norm_penalty
from igsref.training.igs import IGS
from igsref.training.label_rules import empirical_labels, exact_labels, sampled_labels
from igsref.training.penalty import exact_igs_penalty
from igsref.training.sam import ASAM, SAM, filter_wise_ASAM
from igsref.training.track import Tracker
from igsref.training.two_pass import TwoPass

__all__ = [
    "ASAM",
    "EKFAC",
    "GR",
    "IGS",
    "SAM",
    "Tracker",
    "TwoPass",
    "empirical_labels",
    "exact_igs_penalty",
    "exact_labels",
    "filter_wise_ASAM",
    "gradient_norm_penalty",
    "sampled_labels",
]
