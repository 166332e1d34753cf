"""LitServe with batching on: two workers, two API processes, its fast queue.

python litserve_server.py PORT
"""

import sys
from typing import Annotated

import litserve
from fastapi import Body
from work import Work


class One(litserve.LitAPI):
    """One image to JSON, batched by the server."""

    def setup(self, device):
        self.work = Work()

    def decode_request(self, request: Annotated[bytes, Body()]):
        return self.work.decode(request)

    def batch(self, inputs):
        return inputs

    def predict(self, x):
        return self.work.run(x) if isinstance(x, list) else self.work.run([x])

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"embedding": output.tolist()}


if __name__ == "__main__":
    api = One(max_batch_size=32, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=2, generate_client_file=False, log_level="error"
    )
