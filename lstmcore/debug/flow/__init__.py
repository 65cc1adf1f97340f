"""How gradients flow through time."""

from lstmcore.debug.flow.flow import Flow, flow, flow_of

__all__ = ["Flow", "flow", "flow_of"]
