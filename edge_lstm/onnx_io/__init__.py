"""ONNX in, ONNX out: reading the graphs of exporters, writing and reading the float and the integer model.

load(path)                     Network or IntegerNetwork, from a file of our own or of an exporter
save_network, save_integer     written atomically, read back exactly
integer_model                  the integer network as an ONNX model, with every state as an output on request
"""

from __future__ import annotations

from edge_lstm.onnx_io.integer_model import integer_model, save_integer
from edge_lstm.onnx_io.loading import load
from edge_lstm.onnx_io.network_model import network_model, save_network

__all__ = ["integer_model", "load", "network_model", "save_integer", "save_network"]
