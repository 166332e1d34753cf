"""From a bundle and image bytes to vectors, with numpy, Pillow and ONNX Runtime; knows no HTTP and no torch.

Nothing of the engine is imported here: `service.engine.images` alone must stay usable where ONNX Runtime is not
installed.
"""

import os

# The wheels of ONNX Runtime since 1.29 identify the machine and report to their maker unless they are told not to
# before their first import (https://github.com/microsoft/onnxruntime/pull/27379). Whoever wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
