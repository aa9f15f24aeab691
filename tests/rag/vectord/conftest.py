"""A service on a temporary folder, and a qdrant_client that speaks to it without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client import models as m

from rag.vectord.app import create_app
from rag.vectord.limits import Limits
from rag.vectord.service import Service

OpenService = Callable[..., Service]


@pytest.fixture
def open_service(tmp_path: Path) -> Iterator[OpenService]:
    """Opens the folder `tmp_path/data`; call it again after a close to see what survived."""
    opened: list[Service] = []

    def call(limits: Limits | None = None) -> Service:
        opened.append(Service(tmp_path / "data", limits))
        return opened[-1]

    yield call
    for service in opened:
        service.close()


@pytest.fixture
def service(open_service: OpenService) -> Service:
    return open_service()


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Raw HTTP, for what qdrant_client would not send."""
    transport = httpx.ASGITransport(app=create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://vectord") as found:
        yield found


@pytest.fixture
async def client(service: Service) -> AsyncIterator[AsyncQdrantClient]:
    transport = httpx.ASGITransport(app=create_app(service))
    found = AsyncQdrantClient(url="http://vectord", transport=transport, check_compatibility=False)
    yield found
    await found.close()


@pytest.fixture
async def docs(client: AsyncQdrantClient) -> AsyncQdrantClient:
    """A client beside a collection `docs`: a dense and a sparse vector, ten points."""
    await client.create_collection(
        "docs",
        vectors_config={"dense": m.VectorParams(size=4, distance=m.Distance.COSINE)},
        sparse_vectors_config={"sparse": m.SparseVectorParams(modifier=m.Modifier.IDF)},
    )
    await client.upsert(
        "docs",
        [
            m.PointStruct(
                id=i,
                vector={
                    "dense": [1.0, 2.0, 3.0, float(i)],
                    "sparse": m.SparseVector(indices=[i], values=[1.0]),
                },
                payload={"kb": f"kb-{i % 2}", "n": i},
            )
            for i in range(10)
        ],
    )
    return client
