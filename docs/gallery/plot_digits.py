"""
Handwritten digits
==================

A small classifier of real digits: its IGS and the ceiling that its losses set, the samples that
carry it, the hierarchy of gradients, and what is left of other routes once units are scaled. It is
what ``make demo`` runs.
"""

from toy.digits import main

main(["--output", "../../out/gallery/digits"])
