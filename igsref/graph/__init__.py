"""Which channels of a network belong together, and what may be done to them."""

from igsref.graph.channel_graph import channel_graph
from igsref.graph.groups import ChannelGraph, ChannelGroup, Place, Shift
from igsref.graph.tracing import is_altered, replay
from igsref.graph.values import told

__all__ = [
    "ChannelGraph",
    "ChannelGroup",
    "Place",
    "Shift",
    "channel_graph",
    "is_altered",
    "replay",
    "told",
]
