"""What people write first: a FastAPI route that decodes and runs in the thread pool.

uvicorn naive:app
"""

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from work import Work, unpack

app = FastAPI()
work = Work()


def embed(contents):
    """Decodes and runs, in a thread."""
    return work.run([work.decode(content) for content in contents])


@app.post("/one")
async def one(request: Request):
    """One image to JSON."""
    rows = await run_in_threadpool(embed, [await request.body()])
    return {"embedding": rows[0].tolist()}


@app.post("/many")
async def many(request: Request):
    """Many images, each after its length, to float32."""
    rows = await run_in_threadpool(embed, unpack(await request.body()))
    return Response(rows.tobytes(), media_type="application/octet-stream")


@app.post("/tensor")
async def tensor(request: Request):
    """Pixels to float32."""
    shape = (-1, work.size[1], work.size[0], len(work.mode))
    pixels = np.frombuffer(await request.body(), np.uint8).reshape(shape)
    rows = await run_in_threadpool(work.session.run, ["mean"], {"images": pixels})
    return Response(rows[0].tobytes(), media_type="application/octet-stream")
