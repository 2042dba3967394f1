"""
Which measures are invariant?
=============================

Each measure after and before each kind of transformation, in the worst of a few random networks;
the `page on comparing <../comparing.html>`_ shows the same for more of them.
"""

from verification.invariance_matrix import main

main(["--count", "2", "--workers", "1", "--output", "../../out/gallery/invariance"])
