"""Learns a SimVAE from images: a source in, a run directory out. Knows nothing of ONNX, bundles or HTTP."""
