"""Client for the facemask picture classification service.

    with Client("http://127.0.0.1:8000") as client:
        for answer in client.classify(["a.jpg", "folder"]):
            print(answer.file, answer.decision or answer.error)

`AsyncClient` does the same with `async with` and `async for`. As a command:

    facemask-client http://127.0.0.1:8000 a.jpg folder --csv answers.csv

Depends on httpx only; neither PyTorch nor FastAPI is imported.
"""

from facemask_client.answers import Answer, Box, ClientError, FaceAnswer
from facemask_client.clients import AsyncClient, Client
from facemask_client.pictures import find_pictures

__version__ = "0.2.0"

__all__ = [
    "Answer",
    "AsyncClient",
    "Box",
    "Client",
    "ClientError",
    "FaceAnswer",
    "__version__",
    "find_pictures",
]
