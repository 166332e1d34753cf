"""The routes: one file for each noun; they know HTTP and nothing of ONNX or batches."""
