"""A model of Triton's Python backend: encoded images, or pixels, to embeddings."""

import os
import sys

import numpy as np
import triton_python_backend_utils as pb  # Triton's own, there at run time only

sys.path.insert(0, os.environ["SIMVAE_BENCH_PEERS"])
from work import Work


class TritonPythonModel:
    """Answers all requests of a batch with one run."""

    def initialize(self, args):
        """Once per instance."""
        self.work = Work()
        self.tensors = args["model_name"] == "pixels"

    def execute(self, requests):
        """A list of requests, each of one or more images."""
        inputs = [pb.get_input_tensor_by_name(request, "images").as_numpy() for request in requests]
        if self.tensors:
            rows = self.work.session.run(["mean"], {"images": np.concatenate(inputs)})[0]
        else:
            rows = self.work.run([self.work.decode(image) for batch in inputs for image in batch.reshape(-1)])
        ends = np.cumsum([len(batch) for batch in inputs])[:-1]
        return [
            pb.InferenceResponse([pb.Tensor("embeddings", np.ascontiguousarray(part))]) for part in np.split(rows, ends)
        ]
