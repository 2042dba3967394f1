"""
Figure 5: wrong labels
======================

Does the IGS as a penalty keep a network from learning wrong labels? Four seeds, with controls.
"""

from toy.poisoned_labels import main

main(["--processes", "1", "--output", "../../out/gallery/poisoned_labels"])
