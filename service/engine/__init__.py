"""From a bundle and image bytes to vectors, with numpy, Pillow and ONNX Runtime; knows no HTTP and no torch.

Nothing is imported here: `service.engine.images` alone must stay usable where ONNX Runtime is not installed.
"""
