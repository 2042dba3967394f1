"""
Figure 2: the same function in other coordinates
================================================

What a change of parameters does to measures of sharpness, and what it cannot do to the IGS.
"""

from toy.reparametrization import main

main(["--output", "../../out/gallery/reparametrization"])
