"""A client of the Breed gateway, which classifies images."""

from breed_client.answers import Classification, Prediction
from breed_client.async_client import AsyncClient
from breed_client.client import Client
from breed_client.errors import ApiError, BreedError, ConnectionFailed
from breed_client.photos import Photo
from breed_client.retries import Retries

__all__ = [
    "ApiError",
    "AsyncClient",
    "BreedError",
    "Classification",
    "Client",
    "ConnectionFailed",
    "Photo",
    "Prediction",
    "Retries",
]
