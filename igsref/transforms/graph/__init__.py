"""Which channels of a network belong together, and what may be done to them."""

from igsref.transforms.graph.channel_graph import channel_graph
from igsref.transforms.graph.groups import ChannelGraph, ChannelGroup, Place
from igsref.transforms.graph.tracing import is_altered
from igsref.transforms.graph.values import told

__all__ = ["ChannelGraph", "ChannelGroup", "Place", "channel_graph", "is_altered", "told"]
