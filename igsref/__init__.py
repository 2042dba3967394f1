"""igsref: exact-geometry reference implementation of the information-geometric sharpness (IGS).

Jang, Lee, Park, Noh, "A Reparametrization-Invariant Sharpness Measure Based on Information
Geometry", NeurIPS 2022.

What it holds is listed in ``__init__.pyi``, and loaded when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
