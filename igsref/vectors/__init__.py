"""Reference vectors: small networks as files, with proven values that any program can check.

>>> from igsref.vectors import load
>>> vector = load()[0]
>>> vector.expected.igs.contains(float(vector.expected.igs))
True
"""

from igsref.vectors.fields import VectorError
from igsref.vectors.files import load, write
from igsref.vectors.vector import Expected, Vector

__all__ = ["Expected", "Vector", "VectorError", "load", "write"]
