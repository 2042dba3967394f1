"""Bijections of parameter space: reparametrisations η = φ(θ) that apply to any network.

To add one, write a frozen dataclass with the methods of :class:`Bijection`, and enter it in
``tests/transforms/bijections/cases.py``, where the laws find it.
"""

from igsref.transforms.bijections.composition import Composition, Inverse, invert
from igsref.transforms.bijections.coupling import AffineCoupling
from igsref.transforms.bijections.dense import DenseLinear
from igsref.transforms.bijections.diagonal import Diagonal
from igsref.transforms.bijections.elementwise import Cubic, Sinh, Softplus
from igsref.transforms.bijections.low_rank import LowRankPlusIdentity
from igsref.transforms.bijections.orthogonal import Householder, Orthogonal
from igsref.transforms.bijections.power import ElementwisePower, RadialPower
from igsref.transforms.bijections.protocol import Bijection
from igsref.transforms.bijections.triangular import Triangular

__all__ = [
    "AffineCoupling",
    "Bijection",
    "Composition",
    "Cubic",
    "DenseLinear",
    "Diagonal",
    "ElementwisePower",
    "Householder",
    "Inverse",
    "LowRankPlusIdentity",
    "Orthogonal",
    "RadialPower",
    "Sinh",
    "Softplus",
    "Triangular",
    "invert",
]
