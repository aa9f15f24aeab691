"""The description: complete, and without promises that the server does not keep."""

from __future__ import annotations

from typing import Any

from tests.serving.conftest import House


def refs(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(refs(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(refs(value) for value in node)) if node else set()
    return set()


async def test_it_builds_and_is_consistent(house: House) -> None:
    described = (await house.client(None).get("/openapi.json")).json()
    schemas = described["components"]["schemas"]
    assert refs(described) <= {f"#/components/schemas/{name}" for name in schemas}
    assert "HTTPValidationError" not in schemas
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert "422" not in operation["responses"], path
            if path.startswith("/v1/"):
                assert operation["security"] == [{"key": []}]
                for status in ("400", "401", "404", "429", "500", "503"):
                    schema = operation["responses"][status]["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorBody"}, (method, path)
    ids = [o["operationId"] for methods in described["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))


async def test_every_route_of_the_issue_is_there(house: House) -> None:
    paths = house.app.openapi()["paths"]
    kb = "/v1/knowledge-bases/{kb_id}"
    for method, path in (
        ("post", "/v1/chat/completions"),
        ("post", "/v1/embeddings"),
        ("post", "/v1/rerank"),
        ("get", "/v1/models"),
        ("get", "/v1/models/{model_id}"),
        ("post", "/v1/files"),
        ("get", "/v1/files"),
        ("get", "/v1/files/{file_id}"),
        ("delete", "/v1/files/{file_id}"),
        ("get", "/v1/files/{file_id}/content"),
        ("post", "/v1/knowledge-bases"),
        ("get", "/v1/knowledge-bases"),
        ("get", kb),
        ("patch", kb),
        ("delete", kb),
        ("post", f"{kb}/data-sources"),
        ("get", f"{kb}/data-sources"),
        ("get", f"{kb}/data-sources/{{ds_id}}"),
        ("delete", f"{kb}/data-sources/{{ds_id}}"),
        ("post", f"{kb}/data-sources/{{ds_id}}/sync"),
        ("get", f"{kb}/ingestion-jobs"),
        ("get", f"{kb}/ingestion-jobs/{{job_id}}"),
        ("post", f"{kb}/ingestion-jobs/{{job_id}}/cancel"),
        ("get", f"{kb}/ingestion-jobs/{{job_id}}/events"),
        ("get", f"{kb}/documents"),
        ("get", f"{kb}/documents/{{doc_id}}"),
        ("patch", f"{kb}/documents/{{doc_id}}"),
        ("delete", f"{kb}/documents/{{doc_id}}"),
        ("get", f"{kb}/documents/{{doc_id}}/content"),
        ("get", f"{kb}/documents/{{doc_id}}/chunks"),
        ("post", f"{kb}/retrieve"),
        ("post", "/v1/api-keys"),
        ("get", "/v1/api-keys"),
        ("delete", "/v1/api-keys/{key_id}"),
        ("get", "/v1/usage"),
        ("get", "/health"),
        ("get", "/ready"),
    ):
        assert method in paths.get(path, {}), (method, path)


async def test_docs(house: House) -> None:
    assert (await house.client(None).get("/docs")).status_code == 200


async def test_cors_is_off_unless_asked_for(make_house: Any) -> None:
    closed: House = await make_house()
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = await closed.client(None).options("/v1/models", headers=preflight)
    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers
    opened: House = await make_house(cors_origins="https://a.example")
    answer = await opened.client(None).options("/v1/models", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    failed = await opened.client(None).get("/v1/models", headers={"Origin": "https://a.example"})
    assert failed.status_code == 401
    assert failed.headers["access-control-allow-origin"] == "https://a.example"
