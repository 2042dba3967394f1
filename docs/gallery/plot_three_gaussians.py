"""
Figure 1: which directions move the decisions
=============================================

Eigenvalues of F for three Gaussians in the plane, and boundaries moved along its eigenvectors.
"""

from toy.three_gaussians import main

main(["--output", "../../out/gallery/three_gaussians"])
