"""Reference vectors: small networks as files, with proven values that any program can check.

>>> from igsref.vectors import load
>>> vector = load()[0]
>>> vector.name, vector.expected.rank, len(vector.expected.eigenvalues)
('badly-scaled-0', 9, 9)
"""

from igsref.vectors.fields import VectorError
from igsref.vectors.files import load, write
from igsref.vectors.vector import Expected, Vector

__all__ = ["Expected", "Vector", "VectorError", "load", "write"]
