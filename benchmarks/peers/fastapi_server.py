"""FastAPI as tutorials show it: an upload, Pillow, a forward pass, in a plain `def` endpoint.

FastAPI runs such an endpoint on its pool of threads, so that requests overlap. There is no
batching, because the framework has none.
"""

import torch
from fastapi import FastAPI, UploadFile
from PIL import Image

from benchmarks.peers.model import label, load_model, preprocess

app = FastAPI()
model = load_model()


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, object]:
    pixels = preprocess(Image.open(file.file)).unsqueeze(0)
    with torch.inference_mode():
        probabilities = model(pixels)[0]
    return label(probabilities)
