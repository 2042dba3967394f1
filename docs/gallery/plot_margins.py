"""
Figure 4: margins in the metric of F
====================================

Steps along eigenvectors of F that carry a decision boundary through a sample, exact and predicted.
"""

from toy.margins import main

main(["--output", "../../out/gallery/margins"])
