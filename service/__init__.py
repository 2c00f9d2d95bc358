"""The FastAPI microservice: pictures in, predictions out."""
