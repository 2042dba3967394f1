"""EKFAC: the Fisher matrix approximated block by block, each diagonal in a known basis.

layers          which layers have a Kronecker eigenbasis, and what they read
capture         one forward pass with what these layers read, and derivatives at their outputs
chunks          samples in portions that fit into memory
kronecker       a layer's eigenbasis, and second moments of its gradients in that basis
row_blocks      all other tensors, from their rows: dense blocks and diagonals
row_grams       each sample's own Gram matrix under a power of the whole
block           one block and its powers
approximation   the whole
"""

from igsref.curvature.kfac.approximation import Ekfac, ekfac
from igsref.curvature.kfac.row_grams import row_grams

__all__ = ["Ekfac", "ekfac", "row_grams"]
